package server

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/sluicenet/sluice/controller/filter"
	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/controller/model"
)

// namesShown is how many names an error lists.
const namesShown = 12

// found is a resolved name: just one of its fields is set.
type found struct {
	prefix  netip.Prefix // an address, or a CIDR
	members []*member    // all that the name fits
	group   string
}

// find resolves a name as users write it: an address or CIDR; a workload's
// name, id, NODE/NAME, NODE/ID or NAMESPACE/NAME; a group's name, SERVICE or NAMESPACE/SERVICE. The
// lock is held.
func (s *book) find(name string) (found, error) {
	name = strings.TrimSpace(name)
	if name == "" {
		return found{}, fmt.Errorf("the name is empty: give a workload, a group, an address or a CIDR")
	}
	if a, err := netip.ParseAddr(name); err == nil {
		a = a.Unmap().WithZone("")
		return found{prefix: netip.PrefixFrom(a, a.BitLen())}, nil
	}
	if p, err := netip.ParsePrefix(name); err == nil {
		return found{prefix: p.Masked()}, nil
	}
	if members := s.dir.named(name); len(members) > 0 {
		return found{members: members}, nil
	}
	group, err := s.resolve(name)
	if err != nil {
		return found{}, fmt.Errorf("no workload or group is called %q, and it is no address or CIDR (%w); `sluice workloads` lists workloads", name, err)
	}
	return found{group: group}, nil
}

// named returns the workloads that a name fits.
func (d *directory) named(name string) []*member {
	var out []*member
	for _, m := range d.all() {
		if m.called(name) {
			out = append(out, m)
		}
	}
	return out
}

// which lists workloads of one name apart from each other.
func which(members []*member) string {
	var all []string
	for _, m := range members {
		all = append(all, m.node+"/"+m.workload.Id)
	}
	return listed(all)
}

// called reports whether a name is the workload's.
func (m *member) called(name string) bool {
	w := m.workload
	return w.Id == name || w.Name == name || m.node+"/"+w.Id == name || m.node+"/"+w.Name == name || w.Namespace+"/"+w.Name == name
}

// Resolve implements filter.Resolver. Removed workloads that still have rows are resolved, too.
// The lock is held.
func (s *history) Resolve(name string) (filter.Set, error) {
	f, err := s.find(name)
	switch {
	case err != nil:
		if set, ok := s.former(strings.TrimSpace(name)); ok {
			return set, nil
		}
		return filter.Set{}, err
	case f.prefix.IsValid():
		return filter.Set{Prefixes: []netip.Prefix{f.prefix}}, nil
	case f.group != "":
		return s.groupSet(f.group), nil
	}
	set := filter.Set{Members: make(map[filter.Identity]bool)}
	for _, m := range f.members {
		addMember(&set, m)
	}
	return set, nil
}

// addMember adds a workload. One in the host's network is in rows as an end of its node.
func addMember(set *filter.Set, m *member) {
	id := m.identity()
	set.Members[id] = true
	if m.workload.HostNet {
		id.Group = model.Nodes
		set.Members[id] = true
	}
}

// groupSet is a group as a filter sees it.
func (s *book) groupSet(name string) filter.Set {
	set := filter.Set{Groups: map[string]bool{name: true}, Members: make(map[filter.Identity]bool)}
	g := s.groups[name]
	switch {
	case name == model.Any:
		return filter.Set{All: true}
	case g == nil:
		return set
	}
	set.Prefixes = g.CIDRs
	for _, m := range s.dir.all() {
		if m.group == name || g.Selector.Matches(&m.policy) {
			addMember(&set, m)
		}
	}
	return set
}

// former finds a workload that is gone, by what is remembered of it or by rows that it has.
func (s *history) former(name string) (filter.Set, bool) {
	set := filter.Set{Members: make(map[filter.Identity]bool), Groups: make(map[string]bool)}
	for _, l := range s.dir.gone.ids {
		if l.member.called(name) {
			addMember(&set, l.member)
		}
	}
	row := func(group, node, workload, id string) {
		namespace, _, _ := strings.Cut(strings.TrimPrefix(group, "svc:"), "/")
		if node != "" && (workload == name || node+"/"+workload == name || namespace+"/"+workload == name || id == name || id != "" && node+"/"+id == name) {
			set.Members[filter.Identity{Node: node, Name: workload, Group: group}] = true
		}
	}
	s.graph.Connections(func(e *graph.Edge) bool {
		row(e.From, e.FromNode, e.FromWorkload, e.Ends[0].Workload)
		row(e.To, e.ToNode, e.ToWorkload, e.Ends[1].Workload)
		return false
	})
	s.graph.Violations(func(v *graph.Violation) bool {
		row(v.From, v.FromNode, v.FromWorkload, "")
		row(v.To, v.ToNode, v.ToWorkload, "")
		return false
	})
	s.graph.Threats(func(t *graph.Threat) bool {
		row(t.From, t.FromNode, t.FromWorkload, "")
		row(t.To, t.ToNode, t.ToWorkload, "")
		return false
	})
	return set, len(set.Members) > 0
}

// resolve is the group that a person means. The lock is held.
func (s *book) resolve(name string) (string, error) {
	known := slices.Sorted(maps.Keys(s.groups))
	g, err := model.Resolve(known, name)
	if err == nil {
		return g, nil
	}
	if len(known) == 0 {
		return "", fmt.Errorf("%w; there are none yet", err)
	}
	return "", fmt.Errorf("%w; there are %s", err, listed(known))
}

// listed returns names, the first of them where there are many.
func listed(names []string) string {
	slices.Sort(names)
	names = slices.Compact(names)
	more := ""
	if len(names) > namesShown {
		more = fmt.Sprintf(" and %d more", len(names)-namesShown)
		names = names[:namesShown]
	}
	return strings.Join(names, ", ") + more
}

// serviceGroup is the service group that a person names to change its settings. A workload's name
// leads to its group in the error. The lock is held.
func (s *book) serviceGroup(name string) (string, error) {
	g, err := s.resolve(name)
	if err != nil {
		if members := s.dir.named(strings.TrimSpace(name)); len(members) > 0 {
			return "", fmt.Errorf("%q is a workload of the group %s: name the group, whose workloads all have its mode", name, members[0].group)
		}
		return "", err
	}
	if kind := model.KindOf(g); kind != model.Service {
		return "", fmt.Errorf("group %q is a %s group, which has no mode: set that of service groups", g, kind)
	}
	return g, nil
}
