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

// OnDeny says what a denied packet's sender is told.
type OnDeny uint8

// Answers to denied packets.
const (
	// Reset: TCP gets RSTs, everything else silence.
	Reset OnDeny = iota
	// Reject: TCP gets RSTs, UDP an ICMP error (administratively prohibited).
	Reject
	// Silent: nothing is answered.
	Silent
)

// Unready says what a workload does before its policy has come.
type Unready uint8

// Unready settings.
const (
	UnreadyAllow Unready = iota
	UnreadyHold
	UnreadyDeny
)

// Spec is the policy of one node as the controller sends it: identities rather than
// address pairs. Everything in it refers by number to something else in it, and Compile
// refuses a Spec that does not.
type Spec struct {
	// Version counts up with every change; 64 bits.
	Version uint64 `json:"version"`
	// Groups lists the groups that rules name; a group's number is its index.
	Groups []GroupSpec `json:"groups"`
	// Identities: a number for each distinct set of groups, its index. Index 0 is the
	// identity of addresses that nothing matches (external).
	Identities []IdentitySpec `json:"identities"`
	// Addresses map prefixes to identities, longest prefix first in force.
	Addresses []AddressSpec `json:"addresses"`
	// Workloads are those that run on the node.
	Workloads []WorkloadSpec `json:"workloads"`
	// Newcomers say what holds for workloads that are not listed yet.
	Newcomers []NewcomerSpec `json:"newcomers,omitempty"`
	// Rules in order of evaluation.
	Rules []RuleSpec `json:"rules"`
	// Exempt prefixes are not subject to policy (verdict open).
	Exempt []netip.Prefix `json:"exempt,omitempty"`
}

// GroupSpec is a group as rules see it. The name is for Explain.
type GroupSpec struct {
	Name string `json:"name"`
	// Any marks the reserved group `any`, to which every identity belongs.
	Any bool `json:"any,omitempty"`
}

// IdentitySpec is a set of groups, as indexes of Spec.Groups.
type IdentitySpec struct {
	Groups []uint32 `json:"groups"`
}

// AddressSpec gives the addresses of a prefix an identity.
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
	// Hold is how long payload of a pending session may be held in protect mode; 0 is the
	// default of one second.
	Hold time.Duration `json:"hold,omitempty"`
	// HoldDeny denies a session whose hold time ran out; it passes otherwise.
	HoldDeny bool `json:"hold_deny,omitempty"`
	// Backend is by what a person chose that the workload is enforced (NFQueueBackend, AFPacketBackend); ""
	// where nobody did. It decides nothing about connections.
	Backend string `json:"backend,omitempty"`
}

// Names of backends, as people choose them.
const (
	NFQueueBackend  = "nfqueue"
	AFPacketBackend = "afpacket"
	AutoBackend     = "auto" // nobody's choice
)

// CheckBackend says whether a backend, or auto, has that name.
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
	// Apps; empty is any. app.Unknown names sessions whose identification ended without
	// a name.
	Apps []app.ID `json:"apps,omitempty"`
	Deny bool     `json:"deny,omitempty"`
}
