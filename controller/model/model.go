// Package model is what controllers keep and users change: groups, rules, settings, and the
// workloads and nodes that agents report. It checks them and returns in a sentence what is
// wrong. It neither stores them nor compiles them.
package model

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"github.com/sluicenet/sluice/core/policy"
)

// Workload is one workload of any node, as policy sees it.
type Workload struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Service   string            `json:"service"`
	Labels    map[string]string `json:"labels,omitempty"`
	Node      string            `json:"node"`
	// Addresses of its interfaces, each with the length of its subnet.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	// HostNet: it lives in the node's own network namespace, and its addresses are the node's.
	HostNet     bool `json:"host_net,omitempty"`
	Quarantined bool `json:"quarantined,omitempty"`
	// Backend is the backend that a user chose for it; "" without a choice.
	Backend string `json:"backend,omitempty"`
}

// Group is the name of the workload's service group.
func (w *Workload) Group() string { return ServiceGroup(w.Namespace, w.Service) }

// Node is one machine that runs an agent.
type Node struct {
	Name      string       `json:"name"`
	Addresses []netip.Addr `json:"addresses,omitempty"` // the host's own
}

// Settings hold for everything.
type Settings struct {
	// DefaultMode is that of service groups when they are first seen.
	DefaultMode policy.Mode `json:"default_mode"`
	// DefaultFail is that of groups without a fail mode of their own; "" is open.
	DefaultFail Fail `json:"default_fail,omitempty"`
	// DefaultHold and DefaultHoldExpired are those of groups without their own; 0 is 3 s, "" is
	// deny.
	DefaultHold        time.Duration `json:"default_hold,omitempty"`
	DefaultHoldExpired Expired       `json:"default_hold_expired,omitempty"`
	// Internal are subnets whose addresses without a known workload are `unmanaged` rather
	// than `external`; those that workloads are connected to need not be listed.
	Internal []netip.Prefix `json:"internal,omitempty"`
	// Exempt peers are not subject to policy.
	Exempt []netip.Prefix `json:"exempt,omitempty"`
	// Revision counts changes, for compare-and-set.
	Revision uint64 `json:"revision,omitempty"`
}

// Validate returns an error for invalid settings.
func (s *Settings) Validate() error {
	if s.DefaultMode > policy.Protect {
		return fmt.Errorf("settings: the default mode %s does not exist: use discover, monitor or protect", s.DefaultMode)
	}
	if err := cmp.Or(s.DefaultFail.Validate(), CheckHold(s.DefaultHold), s.DefaultHoldExpired.Validate()); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	for name, list := range map[string][]netip.Prefix{"internal": s.Internal, "exempt": s.Exempt} {
		for _, p := range list {
			if !p.IsValid() || p.Addr().Is4In6() {
				return fmt.Errorf("settings: %s: %q is not a prefix: write 10.1.0.0/16 or 2001:db8::/32", name, p)
			}
		}
	}
	return nil
}
