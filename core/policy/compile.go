package policy

import (
	"fmt"

	"github.com/gaissmai/bart"

	"github.com/sluicenet/sluice/core/app"
)

// maxCells bounds the classes that one Table keeps: workload identities times
// identities, both directions. 2^27 of them are 512 MiB.
const maxCells = 1 << 27

// Compile builds the Table of a Spec, or says which reference in it leads nowhere. The Table
// shares the Spec's rules, groups and identities: they must not be changed afterwards.
func Compile(s *Spec) (*Table, error) {
	if err := check(s); err != nil {
		return nil, err
	}
	t := &Table{
		version:    s.Version,
		workloads:  make(map[string]*Workload, len(s.Workloads)),
		groups:     s.Groups,
		identities: s.Identities,
		rules:      s.Rules,
		classes:    []class{{}},
		candidates: []candidate{{bits: candNone | candLast}},
	}
	t.hosts = newHosts(s.Addresses)
	for _, a := range s.Addresses {
		if !a.Prefix.IsSingleIP() {
			t.addresses.Insert(a.Prefix.Masked(), a.Identity)
		}
	}
	if len(s.Exempt) > 0 {
		t.exempt = new(bart.Lite)
		for _, p := range s.Exempt {
			t.exempt.Insert(p.Masked())
		}
	}
	if err := t.compileWorkloads(s); err != nil {
		return nil, err
	}
	return t, nil
}

// compileWorkloads gives each workload the rows of its identity.
func (t *Table) compileWorkloads(s *Spec) error {
	b := newBuilder(t)
	t.everyone = b.sides(b.everyone)
	byIdentity := make(map[uint32]*rows)
	for i := range s.Workloads {
		w := &s.Workloads[i]
		if _, ok := t.workloads[w.ID]; ok {
			return fmt.Errorf("workload %q is in the policy twice", w.ID)
		}
		r := byIdentity[w.Identity]
		if r == nil {
			if cells := 2 * (len(byIdentity) + 1) * len(b.members); cells > maxCells {
				return fmt.Errorf("policy is too large: %d identities of workloads among %d identities; put workloads into fewer groups",
					len(byIdentity)+1, len(b.members))
			}
			r = b.rows(w.Identity)
			byIdentity[w.Identity] = r
		}
		t.workloads[w.ID] = &Workload{table: t, spec: *w, rows: r}
	}
	t.exact = newExactMap(b.painter.exact)
	return nil
}

// check refuses a Spec in which something refers to what is not there.
func check(s *Spec) error {
	groups, identities := uint32(len(s.Groups)), uint32(len(s.Identities))
	for i, id := range s.Identities {
		for _, g := range id.Groups {
			if g >= groups {
				return fmt.Errorf("identity %d is in group %d, but the policy has %d groups", i, g, groups)
			}
		}
	}
	for _, a := range s.Addresses {
		if !a.Prefix.IsValid() || a.Prefix.Addr().Is4In6() {
			return fmt.Errorf("%q is not a prefix of IPv4 or IPv6 addresses", a.Prefix)
		}
		if a.Identity >= identities {
			return fmt.Errorf("addresses %s have identity %d, but the policy has %d identities", a.Prefix, a.Identity, identities)
		}
	}
	for _, p := range s.Exempt {
		if !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("exempt %q is not a prefix of IPv4 or IPv6 addresses", p)
		}
	}
	for _, w := range s.Workloads {
		if w.Identity >= identities {
			return fmt.Errorf("workload %q has identity %d, but the policy has %d identities", w.ID, w.Identity, identities)
		}
		if w.Mode > Protect || w.OnDeny > Silent || w.Unready > UnreadyDeny {
			return fmt.Errorf("workload %q has mode %s, on_deny %s, unready %s, one of which does not exist", w.ID, w.Mode, w.OnDeny, w.Unready)
		}
	}
	for i := range s.Rules {
		if err := s.Rules[i].check(groups); err != nil {
			return fmt.Errorf("rule %d (at place %d): %w", s.Rules[i].ID, i, err)
		}
	}
	return nil
}

func (r *RuleSpec) check(groups uint32) error {
	switch {
	case r.ID == 0:
		return fmt.Errorf("id 0 is kept for the defaults of the modes")
	case r.From >= groups:
		return fmt.Errorf("comes from group %d, but the policy has %d groups", r.From, groups)
	case r.To >= groups:
		return fmt.Errorf("goes to group %d, but the policy has %d groups", r.To, groups)
	}
	for _, p := range r.Ports {
		if p.Lo > p.Hi {
			return fmt.Errorf("ports %d to %d are the wrong way round", p.Lo, p.Hi)
		}
	}
	for _, a := range r.Apps {
		if a == app.Undecided {
			return fmt.Errorf("names the application %s, which no session keeps", a)
		}
	}
	return nil
}
