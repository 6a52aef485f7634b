package model

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sluicenet/sluice/core/policy"
)

// Reserved groups.
const (
	Any       = "any"       // everything
	External  = "external"  // no known workload, node or internal subnet
	Nodes     = "nodes"     // the addresses of the nodes themselves
	Unmanaged = "unmanaged" // an internal address without a known workload
	Multicast = "multicast" // multicast and broadcast addresses
	Metadata  = "metadata"  // the cloud metadata service, 169.254.169.254 and fd00:ec2::254
)

// Kind is what a group is.
type Kind string

// Kinds of group.
const (
	Service  Kind = "service"  // svc:<namespace>/<service>; made when first seen, carries the mode
	User     Kind = "user"     // made by users, with a selector or prefixes
	Reserved Kind = "reserved" // one of those above
)

// Group is a set of workloads or addresses.
type Group struct {
	Name string `json:"name"`
	// Selector and CIDRs define the members of a user group; other groups have none.
	Selector *Selector      `json:"selector,omitempty"`
	CIDRs    []netip.Prefix `json:"cidrs,omitempty"`
	Comment  string         `json:"comment,omitempty"`
	Created  int64          `json:"created,omitempty"`  // ns since the epoch
	Revision uint64         `json:"revision,omitempty"` // counts changes, for compare-and-set

	// The rest is valid in service groups.
	Mode        policy.Mode    `json:"mode,omitempty"`
	Switched    int64          `json:"switched,omitempty"` // when Mode was changed last, ns since the epoch; 0 for never
	OnDeny      policy.OnDeny  `json:"on_deny,omitempty"`
	Unready     policy.Unready `json:"unready,omitempty"`
	Fail        Fail           `json:"fail,omitempty"`
	Hold        time.Duration  `json:"hold,omitempty"`
	HoldExpired Expired        `json:"hold_expired,omitempty"`
}

// Selector picks workloads; all that is set must hold.
type Selector struct {
	Namespace string            `json:"namespace,omitempty"`
	Service   string            `json:"service,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// Matches reports whether a workload is picked. A selector without anything picks none.
func (s *Selector) Matches(w *Workload) bool {
	if s == nil || s.Namespace == "" && s.Service == "" && len(s.Labels) == 0 {
		return false
	}
	for k, v := range s.Labels {
		if have, ok := w.Labels[k]; !ok || have != v {
			return false
		}
	}
	return (s.Namespace == "" || s.Namespace == w.Namespace) && (s.Service == "" || s.Service == w.Service)
}

// Kind returns the kind, which the name shows.
func (g *Group) Kind() Kind { return KindOf(g.Name) }

// KindOf returns the kind of a group by its name.
func KindOf(name string) Kind {
	switch name {
	case Any, External, Nodes, Unmanaged, Multicast, Metadata:
		return Reserved
	}
	if strings.HasPrefix(name, "svc:") {
		return Service
	}
	return User
}

// ReservedNames are the groups that always exist.
func ReservedNames() []string { return []string{Any, External, Nodes, Unmanaged, Multicast, Metadata} }

// ServiceGroup is the name of the service group of a namespace and service.
func ServiceGroup(namespace, service string) string { return "svc:" + namespace + "/" + service }

const maxName = 253 // as long as a DNS name

var (
	userName    = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)
	serviceName = regexp.MustCompile(`^svc:[^\s/:,]+/[^\s,]+$`)
)

// CheckName returns an error for an invalid group name.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the name of the group is empty: give a group, or any")
	case len(name) > maxName:
		return fmt.Errorf("group %.20q... has a name of %d bytes: use %d at most", name, len(name), maxName)
	}
	switch KindOf(name) {
	case Service:
		if !serviceName.MatchString(name) {
			return fmt.Errorf("group %q is not the name of a service group: write svc:NAMESPACE/SERVICE", name)
		}
	case User:
		if !userName.MatchString(name) {
			return fmt.Errorf("group %q has a name that is not allowed: use small letters, digits, dots, dashes and underscores, beginning with a letter or digit", name)
		}
	}
	return nil
}

// Validate returns an error for an invalid group.
func (g *Group) Validate() error {
	if err := CheckName(g.Name); err != nil {
		return err
	}
	kind := g.Kind()
	switch {
	case kind == Reserved:
		return fmt.Errorf("group %q is reserved and always there: choose another name", g.Name)
	case kind == Service && (g.Selector != nil || len(g.CIDRs) > 0):
		return fmt.Errorf("group %q is a service group, whose members are the workloads of the service: make a user group for a selector or prefixes", g.Name)
	case kind == User && (g.Mode != 0 || g.OnDeny != 0 || g.Unready != 0 || g.Fail != FailDefault || g.Hold != 0 || g.HoldExpired != ExpiredDefault):
		return fmt.Errorf("group %q is a user group, which carries no mode: set the mode of the service groups of its members", g.Name)
	case g.Mode > policy.Protect || g.OnDeny > policy.Silent || g.Unready > policy.UnreadyDeny:
		return fmt.Errorf("group %q has mode %s, on_deny %s, unready %s, one of which does not exist", g.Name, g.Mode, g.OnDeny, g.Unready)
	}
	if err := cmp.Or(g.Fail.Validate(), CheckHold(g.Hold), g.HoldExpired.Validate()); err != nil {
		return fmt.Errorf("group %q: %w", g.Name, err)
	}
	for _, p := range g.CIDRs {
		if !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("group %q: %q is not a prefix: write 10.1.0.0/16 or 2001:db8::/32", g.Name, p)
		}
	}
	return nil
}

// Resolve finds the group that a person means: its whole name, or, for a service group, the
// service alone ("web" for "svc:default/web") or NAMESPACE/SERVICE, where just one of
// the existing groups is called so. Reserved names always exist.
func Resolve(existing []string, name string) (string, error) {
	name = strings.TrimSpace(name)
	if KindOf(name) == Reserved || slices.Contains(existing, name) {
		return name, nil
	}
	found := map[string]bool{}
	for _, g := range existing {
		full, ok := strings.CutPrefix(g, "svc:")
		if _, service, _ := strings.Cut(full, "/"); ok && (service == name || full == name) {
			found[g] = true
		}
	}
	all := slices.Sorted(maps.Keys(found))
	switch len(all) {
	case 1:
		return all[0], nil
	case 0:
		if err := CheckName(name); err != nil {
			return "", err
		}
		return "", fmt.Errorf("no group is called %q: `sluice groups` lists those that exist", name)
	}
	return "", fmt.Errorf("%q may be %s: write the whole name", name, strings.Join(all, " or "))
}
