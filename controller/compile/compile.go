// Package compile turns what controllers know (groups, rules, workloads and nodes)
// into the policy.Spec of one node. It is a pure function: equal input gives equal
// output. It neither stores nor sends.
package compile

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/gaissmai/bart"

	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/policy"
)

// Input is the whole of what a Spec is made from. Nothing in it is changed.
type Input struct {
	Version uint64
	// Node is whose Spec is made: it lists the workloads there, and addresses of all.
	Node string
	// Groups are service and user groups. A workload whose service group is not among them has
	// the default mode.
	Groups []model.Group
	// Rules in order of evaluation.
	Rules     []model.Rule
	Workloads []model.Workload // of all nodes
	Nodes     []model.Node
	Settings  model.Settings
}

// Compile makes the Spec of a node. The notes are sentences about what could not be done as it
// was asked, such as two workloads with one address.
func Compile(in *Input) (s *policy.Spec, notes []string) {
	c := newCompiler(in)
	c.rules()
	c.workloads()
	c.newcomers()
	c.addresses()
	c.spec.Exempt = slices.Clone(in.Settings.Exempt)
	return c.spec, c.notes
}

// Numbers of the reserved groups in every Spec.
const (
	anyGroup uint32 = iota
	external
	nodes
	unmanaged
	multicast
	metadata
)

type compiler struct {
	in    *Input
	spec  *policy.Spec
	notes []string

	byName     map[string]*model.Group
	groups     map[string]uint32 // numbers of the groups that rules name
	users      []*model.Group    // user groups that rules name, by number
	cidrs      bart.Table[[]uint32]
	hasCIDRs   bool
	identities map[string]uint32
	sorted     []*model.Workload // by node of the Spec first, then id
	set        []uint32
	linkOwners map[netip.Addr][2]int // workloads with a link-local address: of the node, of others; nil until needed
	key        []byte
}

func newCompiler(in *Input) *compiler {
	c := &compiler{
		in:         in,
		spec:       &policy.Spec{Version: in.Version},
		byName:     make(map[string]*model.Group, len(in.Groups)),
		groups:     make(map[string]uint32),
		identities: make(map[string]uint32),
	}
	for i := range in.Groups {
		c.byName[in.Groups[i].Name] = &in.Groups[i]
	}
	for _, name := range model.ReservedNames() {
		c.group(name)
	}
	for i := range in.Workloads {
		c.sorted = append(c.sorted, &in.Workloads[i])
	}
	slices.SortStableFunc(c.sorted, func(a, b *model.Workload) int {
		return cmp.Or(cmp.Compare(c.away(a), c.away(b)), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Node, b.Node))
	})
	return c
}

// away is 0 for a workload of the node of the Spec, else 1.
func (c *compiler) away(w *model.Workload) int {
	if w.Node == c.in.Node {
		return 0
	}
	return 1
}

// group is a group's number, given when a rule names it first. Groups that no rule names are left
// out: they decide nothing and would only multiply identities.
func (c *compiler) group(name string) uint32 {
	n, ok := c.groups[name]
	if !ok {
		n = uint32(len(c.spec.Groups))
		c.groups[name] = n
		c.spec.Groups = append(c.spec.Groups, policy.GroupSpec{Name: name, Any: name == model.Any, Cast: name == model.Multicast, Named: name == model.Metadata})
		if g := c.byName[name]; g != nil && g.Kind() == model.User {
			c.users = append(c.users, g)
			c.addCIDRs(g.CIDRs, n)
		}
	}
	return n
}

// addCIDRs notes that addresses below some prefixes are in a group.
func (c *compiler) addCIDRs(list []netip.Prefix, group uint32) {
	for _, p := range list {
		p = p.Masked()
		have, _ := c.cidrs.Get(p)
		c.cidrs.Insert(p, append(slices.Clone(have), group))
		c.hasCIDRs = true
	}
}

// rules takes over the enabled rules, and numbers the groups that they name.
func (c *compiler) rules() {
	for i := range c.in.Rules {
		r := &c.in.Rules[i]
		if r.Disabled {
			continue
		}
		c.spec.Rules = append(c.spec.Rules, policy.RuleSpec{
			ID: r.ID, From: c.group(r.From), To: c.group(r.To),
			Ports: r.Ports.Specs(), Apps: slices.Clone(r.Apps), Deny: r.Action == model.Deny,
		})
	}
	c.identity(external) // number 0: addresses that nothing matches
}

// identity is the number of a set of groups, `any` left out.
func (c *compiler) identity(set ...uint32) uint32 {
	slices.Sort(set)
	set = slices.Compact(set)
	c.key = c.key[:0]
	for _, g := range set {
		c.key = binary.LittleEndian.AppendUint32(c.key, g)
	}
	id, ok := c.identities[string(c.key)]
	if !ok {
		id = uint32(len(c.spec.Identities))
		c.identities[string(c.key)] = id
		c.spec.Identities = append(c.spec.Identities, policy.IdentitySpec{Groups: slices.Clone(set)})
	}
	return id
}

// of is the groups that a workload is in by its labels and service, in memory that the next call
// uses again.
func (c *compiler) of(w *model.Workload) []uint32 {
	c.set = c.set[:0]
	if n, ok := c.groups[w.Group()]; ok {
		c.set = append(c.set, n)
	}
	for _, g := range c.users {
		if g.Selector.Matches(w) {
			c.set = append(c.set, c.groups[g.Name])
		}
	}
	return c.set
}

// withCIDRs adds the groups whose prefixes hold p.
func (c *compiler) withCIDRs(set []uint32, p netip.Prefix) []uint32 {
	if c.hasCIDRs {
		for _, groups := range c.cidrs.Supernets(p) {
			set = append(set, groups...)
		}
	}
	return set
}

// workloads lists those of the node. One in the node's own network namespace is not intercepted:
// its agent judges what it sees of it, and refuses nothing.
func (c *compiler) workloads() {
	for _, w := range c.sorted {
		if w.Node != c.in.Node {
			break
		}
		if n := len(c.spec.Workloads); n > 0 && c.spec.Workloads[n-1].ID == w.ID {
			c.notes = append(c.notes, fmt.Sprintf("node %s reports the workload %s twice: the second is left out", w.Node, w.ID))
			continue
		}
		set := c.of(w)
		for _, p := range w.Addresses {
			if a := p.Addr().Unmap(); mapped(a) && !a.IsLinkLocalUnicast() {
				set = c.withCIDRs(set, netip.PrefixFrom(a, a.BitLen()))
			}
		}
		s := policy.WorkloadSpec{ID: w.ID, Identity: c.identity(set...), Mode: c.in.Settings.DefaultMode, Quarantined: w.Quarantined, Backend: w.Backend}
		c.applyGroup(&s, c.byName[w.Group()])
		c.spec.Workloads = append(c.spec.Workloads, s)
	}
}

// newcomers returns the settings of workloads that are not reported yet: those of the ones that are
// in the same service group, and for a group of which nothing is known, the default mode without a group.
func (c *compiler) newcomers() {
	like := make(map[string]*model.Workload)
	for _, w := range c.sorted {
		if g := w.Group(); like[g] == nil {
			like[g] = w
		}
	}
	first := policy.NewcomerSpec{WorkloadSpec: policy.WorkloadSpec{Identity: c.identity()}}
	c.applyGroup(&first.WorkloadSpec, nil)
	first.Mode = c.in.Settings.DefaultMode
	c.spec.Newcomers = append(c.spec.Newcomers, first)
	for _, name := range slices.Sorted(maps.Keys(c.byName)) {
		g := c.byName[name]
		if g.Kind() != model.Service {
			continue
		}
		w := like[g.Name]
		if w == nil {
			namespace, service, _ := strings.Cut(strings.TrimPrefix(g.Name, "svc:"), "/")
			w = &model.Workload{Namespace: namespace, Service: service}
		}
		n := policy.NewcomerSpec{Group: g.Name, WorkloadSpec: policy.WorkloadSpec{Identity: c.identity(c.of(w)...)}}
		c.applyGroup(&n.WorkloadSpec, g)
		c.spec.Newcomers = append(c.spec.Newcomers, n)
	}
}

// applyGroup sets a workload's fields from its service group, or from the settings where that has none.
func (c *compiler) applyGroup(s *policy.WorkloadSpec, g *model.Group) {
	s.FailClosed = model.FailDefault.Closed(c.in.Settings.DefaultFail)
	s.Hold, s.HoldPass = c.in.Settings.DefaultHold, model.ExpiredDefault.Passes(c.in.Settings.DefaultHoldExpired)
	if g != nil {
		s.Mode, s.OnDeny, s.Unready = g.Mode, g.OnDeny, g.Unready
		s.Hold, s.HoldPass = cmp.Or(g.Hold, s.Hold), g.HoldExpired.Passes(c.in.Settings.DefaultHoldExpired)
		s.FailClosed = g.Fail.Closed(c.in.Settings.DefaultFail)
	}
}
