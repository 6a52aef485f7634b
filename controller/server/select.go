package server

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/filter"
	"github.com/sluicenet/sluice/controller/model"
)

// sets resolves the names of a selection. The lock is held.
func (s *history) sets(names []string) ([]filter.Set, error) {
	var out []filter.Set
	for _, name := range names {
		set, err := s.Resolve(name)
		if err != nil {
			return nil, err
		}
		out = append(out, set)
	}
	return out, nil
}

// inOne reports whether a workload is in one of the sets, or there are none.
func inOne(sets []filter.Set, m *member) bool {
	return len(sets) == 0 || slices.ContainsFunc(sets, func(x filter.Set) bool {
		return x.All || x.Groups[m.group] || x.Members[m.identity()] || slices.ContainsFunc(x.Prefixes, func(p netip.Prefix) bool {
			return slices.ContainsFunc(m.policy.Addresses, func(a netip.Prefix) bool { return p.Contains(a.Addr()) })
		})
	})
}

// cut returns a page of a list that is in the order of its keys.
func cut[T any](list []T, p *controlv1.Page, key func(T) string) (part []T, next string, err error) {
	if p.GetToken() != "" {
		var after string
		if err := readToken(p.Token, &after); err != nil {
			return nil, "", err
		}
		i, found := slices.BinarySearchFunc(list, after, func(x T, k string) int { return cmp.Compare(key(x), k) })
		if found {
			i++
		}
		list = list[i:]
	}
	if limit := pageLimit(p); len(list) > limit {
		list = list[:limit]
		next = token(key(list[limit-1]))
	}
	return list, next, nil
}

// cutAfter returns a page of a list that has an order of its own. Where the last row of the page
// before is gone, the caller has to start again.
func cutAfter[T any, K comparable](list []T, p *controlv1.Page, key func(*T) K) (part []T, next string, err error) {
	if p.GetToken() != "" {
		var after K
		if err := readToken(p.Token, &after); err != nil {
			return nil, "", err
		}
		i := slices.IndexFunc(list, func(x T) bool { return key(&x) == after })
		if i < 0 {
			return nil, "", status.Error(codes.Aborted, "page: the list has changed since the previous page: start again")
		}
		list = list[i+1:]
	}
	if limit := pageLimit(p); len(list) > limit {
		list = list[:limit]
		next = token(key(&list[limit-1]))
	}
	return list, next, nil
}

// membersOf returns the ids of every group's workloads. The lock is held.
func (s *book) membersOf() map[string][]string {
	out := make(map[string][]string)
	for _, m := range s.dir.all() {
		out[m.group] = append(out[m.group], m.workload.Id)
		for name, g := range s.groups {
			if g.Selector.Matches(&m.policy) {
				out[name] = append(out[name], m.workload.Id)
			}
		}
	}
	return out
}

// ruleFilter returns the request as a function. An end of a rule matches a name where its group
// is the one that is named, or has the workload or address that is named. The lock is held.
func (s *book) ruleFilter(r *controlv1.ListRulesRequest) (func(*model.Rule) bool, error) {
	var err error
	ends := func(what string, names []string) (out []map[string]bool) {
		for _, name := range names {
			groups, e := s.groupsOf(name)
			if e != nil && err == nil {
				err = fmt.Errorf("%s: %w", what, e)
			}
			out = append(out, groups)
		}
		return out
	}
	from, to, about := ends("from", r.From), ends("to", r.To), ends("about", r.About)
	for _, o := range r.Origins {
		if _, e := parseOrigin(o); e != nil && err == nil {
			err = e
		}
	}
	in := func(sets []map[string]bool, group string) bool {
		return slices.ContainsFunc(sets, func(set map[string]bool) bool { return set[group] })
	}
	return func(x *model.Rule) bool {
		return (len(from) == 0 || in(from, x.From)) && (len(to) == 0 || in(to, x.To)) && (len(about) == 0 || in(about, x.From) || in(about, x.To)) &&
			(len(r.Origins) == 0 || slices.Contains(r.Origins, originEnum(x.Origin)))
	}, err
}

// groupsOf returns the groups of a name: itself, or those of a workload or address.
// A group that only rules name is one, too.
func (s *book) groupsOf(name string) (map[string]bool, error) {
	f, err := s.find(name)
	out := make(map[string]bool)
	if err != nil {
		for _, r := range s.rules.All() {
			if n := strings.TrimSpace(name); r.From == n || r.To == n {
				return map[string]bool{n: true}, nil
			}
		}
		return nil, err
	}
	if f.group != "" {
		return map[string]bool{f.group: true}, nil
	}
	if f.prefix.IsValid() && f.prefix.IsSingleIP() {
		e := s.dir.peer("", f.prefix.Addr())
		out[e.group] = true
		if e.member != nil {
			f.members = append(f.members, e.member)
		}
	}
	for _, m := range f.members {
		out[m.group] = true
		for group, g := range s.groups {
			if g.Selector.Matches(&m.policy) {
				out[group] = true
			}
		}
	}
	for group, g := range s.groups {
		if f.prefix.IsValid() && slices.ContainsFunc(g.CIDRs, f.prefix.Overlaps) {
			out[group] = true
		}
	}
	return out, nil
}

// resolveForRule also takes the whole name of a service group that is not there yet, so that
// rules may come before workloads; the rule then has a warning. The lock is held.
func (s *book) resolveForRule(name string) (string, error) {
	if strings.ContainsAny(name, "*?[") {
		return "", fmt.Errorf("group %q: names have no wildcards: write the name of one group, or any", name)
	}
	g, err := s.resolve(name)
	if err != nil && model.KindOf(name) == model.Service && model.CheckName(name) == nil {
		return name, nil
	}
	return g, err
}

// ruleWarnings returns what a rule does not do now, though it seems to, and what it does beyond what was seen. The lock is held.
func (s *book) ruleWarnings(r *model.Rule, members map[string][]string) []string {
	var out []string
	if text := wideWarning(r); text != "" {
		out = append(out, text)
	}
	for _, x := range []struct{ what, group string }{{"from", r.From}, {"to", r.To}} {
		if text := s.emptyGroup(x.group, members); text != "" && (x.what == "from" || r.To != r.From) {
			out = append(out, fmt.Sprintf("%s: %s, so the rule matches nothing", x.what, text))
		}
	}
	return out
}

// emptyGroup returns a sentence for a group without members; "" for others.
func (s *book) emptyGroup(name string, members map[string][]string) string {
	g := s.groups[name]
	switch {
	case len(members[name]) > 0, name == model.Any, name == model.External, name == model.Unmanaged, name == model.Multicast, name == model.Metadata:
		return ""
	case name == model.Nodes:
		if len(s.dir.hosts) > 0 {
			return ""
		}
		return "no node has reported an address"
	case g == nil:
		return fmt.Sprintf("no group is called %s", name)
	case len(g.CIDRs) > 0:
		return ""
	}
	return fmt.Sprintf("group %s has no members", name)
}
