package policy

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/sluicenet/sluice/core/app"
)

// Mode is a service group's mode.
type Mode uint8

// Modes. Discover is the safe zero.
const (
	Discover Mode = iota
	Monitor
	Protect
)

// OnDeny is the response to the sender of a denied packet.
type OnDeny uint8

// Responses to denied packets.
const (
	// Reset: RSTs for TCP, no response otherwise.
	Reset OnDeny = iota
	// Reject: RSTs for TCP, an ICMP error (administratively prohibited) for UDP.
	Reject
	// Silent: no response.
	Silent
)

// Unready is what a workload's traffic does before its policy has arrived.
type Unready uint8

// Unready settings.
const (
	UnreadyAllow Unready = iota
	UnreadyHold
	UnreadyDeny
)

// Spec is the policy of one node as the controller sends it: identities rather than address
// pairs. Its parts refer to each other by number, and Compile rejects a Spec with an invalid
// reference.
type Spec struct {
	// Version increases with every change; 64 bits.
	Version uint64 `json:"version"`
	// Groups lists the groups that rules name; a group's number is its index.
	Groups []GroupSpec `json:"groups"`
	// Identities: a number for each distinct set of groups, its index. Index 0 is the identity
	// of addresses with no match (external).
	Identities []IdentitySpec `json:"identities"`
	// Addresses map prefixes to identities; the longest prefix wins. A single address with several
	// identities is one that several workloads have: a connection needs the consent of all.
	Addresses []AddressSpec `json:"addresses"`
	// Workloads are those that run on the node.
	Workloads []WorkloadSpec `json:"workloads"`
	// Newcomers are the policies of workloads that are not listed yet.
	Newcomers []NewcomerSpec `json:"newcomers,omitempty"`
	// Rules in order of evaluation.
	Rules []RuleSpec `json:"rules"`
	// Exempt prefixes are not subject to policy (verdict open).
	Exempt []netip.Prefix `json:"exempt,omitempty"`
	// Lineage is the history of the store; nil in policies of earlier versions.
	Lineage *Lineage `json:"lineage,omitempty"`
}

// GroupSpec is a group as rules refer to it. The name is for Explain.
type GroupSpec struct {
	Name string `json:"name"`
	// Any marks the reserved group `any`, to which every identity belongs.
	Any bool `json:"any,omitempty"`
	// Cast marks the reserved group of multicast and broadcast addresses: what is sent to them is
	// judged as sent to the group, at the sender's end and at each receiver's.
	Cast bool `json:"cast,omitempty"`
	// Named marks a reserved group that rules allow only where they name it: `any` does not.
	Named bool `json:"named,omitempty"`
}

// IdentitySpec is a set of groups, as indexes of Spec.Groups.
type IdentitySpec struct {
	Groups []uint32 `json:"groups"`
}

// AddressSpec assigns an identity to the addresses of a prefix.
type AddressSpec struct {
	Prefix   netip.Prefix `json:"prefix"`
	Identity uint32       `json:"identity"`
}

// WorkloadSpec is one managed workload of the node.
type WorkloadSpec struct {
	ID          string  `json:"id"`
	Identity    uint32  `json:"identity"`
	Mode        Mode    `json:"mode"`
	Quarantined bool    `json:"quarantined,omitempty"`
	OnDeny      OnDeny  `json:"on_deny,omitempty"`
	FailClosed  bool    `json:"fail_closed,omitempty"`
	Unready     Unready `json:"unready,omitempty"`
	// Hold is how long payload of a pending session may be held in protect mode; 0 is
	// DefaultHold.
	Hold time.Duration `json:"hold,omitempty"`
	// HoldPass lets a session pass whose hold time expired, as a violation; it is denied
	// otherwise.
	HoldPass bool `json:"hold_pass,omitempty"`
	// Backend is the user's choice of datapath for the workload (NFQueueBackend,
	// AFPacketBackend); "" without one. It decides nothing about connections.
	Backend string `json:"backend,omitempty"`
}

// Names of backends in the user's configuration.
const (
	NFQueueBackend  = "nfqueue"
	AFPacketBackend = "afpacket"
	AutoBackend     = "auto" // no choice
)

// CheckBackend returns an error unless name is a backend or auto.
func CheckBackend(name string) error {
	switch name {
	case NFQueueBackend, AFPacketBackend, AutoBackend:
		return nil
	}
	return fmt.Errorf("there is no backend %q: use nfqueue, afpacket or auto", name)
}

// PortSpec is a range of ports of one transport. Proto 0 is every protocol; Lo 0 and Hi
// 65535 is every port.
type PortSpec struct {
	Proto uint8  `json:"proto"`
	Lo    uint16 `json:"lo"`
	Hi    uint16 `json:"hi"`
}

// RuleSpec is one rule, in the direction client to server.
type RuleSpec struct {
	ID   uint32 `json:"id"`
	From uint32 `json:"from"` // index of Spec.Groups
	To   uint32 `json:"to"`
	// Ports; empty is any.
	Ports []PortSpec `json:"ports,omitempty"`
	// Apps; empty is any. app.Unknown is sessions whose identification ended without a name.
	Apps []app.ID `json:"apps,omitempty"`
	Deny bool     `json:"deny,omitempty"`
}
