package policy

import (
	"fmt"

	"github.com/gaissmai/bart"

	"github.com/sluicenet/sluice/core/app"
)

// maxCells bounds the classes of one Table: workload identities times identities, both
// directions. 2^27 of them are 512 MiB.
const maxCells = 1 << 27

// Compile builds the Table of a Spec; its error names an invalid reference in the Spec. The
// Table shares the Spec's rules, groups and identities: they must not be changed afterwards.
func Compile(s *Spec) (*Table, error) {
	if err := check(s); err != nil {
		return nil, err
	}
	t := &Table{
		version:    s.Version,
		addresses:  new(bart.Table[uint32]),
		workloads:  make(map[string]*Workload, len(s.Workloads)),
		newcomers:  make(map[string]*Workload, len(s.Newcomers)),
		groups:     s.Groups,
		identities: s.Identities,
		rules:      s.Rules,
		classes:    []class{{}},
		candidates: []candidate{{bits: candNone | candLast}},
	}
	t.hosts, t.book = newHosts(s.Addresses), specBook(s.Addresses)
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

// compileWorkloads assigns each workload the rows of its identity.
func (t *Table) compileWorkloads(s *Spec) error {
	b := newBuilder(t)
	t.everyone = b.sides(b.everyone)
	t.markReserved(b)
	byIdentity := make(map[uint32]*rows)
	compile := func(w *WorkloadSpec) (*Workload, error) {
		r := byIdentity[w.Identity]
		if r == nil {
			if cells := 2 * (len(byIdentity) + 1) * len(b.members); cells > maxCells {
				return nil, fmt.Errorf("policy is too large: %d identities of workloads among %d identities; put workloads into fewer groups",
					len(byIdentity)+1, len(b.members))
			}
			r = b.rows(w.Identity)
			byIdentity[w.Identity] = r
		}
		return &Workload{table: t, spec: *w, rows: r}, nil
	}
	for i := range s.Workloads {
		w := &s.Workloads[i]
		if _, ok := t.workloads[w.ID]; ok {
			return fmt.Errorf("workload %q is in the policy twice", w.ID)
		}
		c, err := compile(w)
		if err != nil {
			return err
		}
		t.workloads[w.ID] = c
	}
	for i := range s.Newcomers {
		c, err := compile(&s.Newcomers[i].WorkloadSpec)
		if err != nil {
			break // a moment without policy for newcomers is better than no policy
		}
		t.newcomers[s.Newcomers[i].Group] = c
	}
	t.exact = newExactMap(b.painter.exact)
	return nil
}

// check rejects a Spec with invalid references.
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
	for i := range s.Workloads {
		if err := s.Workloads[i].check(identities); err != nil {
			return fmt.Errorf("workload %q %w", s.Workloads[i].ID, err)
		}
	}
	for i := range s.Newcomers {
		if err := s.Newcomers[i].check(identities); err != nil {
			return fmt.Errorf("newcomer of %q %w", s.Newcomers[i].Group, err)
		}
	}
	for i := range s.Rules {
		if err := s.Rules[i].check(groups); err != nil {
			return fmt.Errorf("rule %d (at place %d): %w", s.Rules[i].ID, i, err)
		}
	}
	return nil
}

func (w *WorkloadSpec) check(identities uint32) error {
	switch {
	case w.Identity >= identities:
		return fmt.Errorf("has identity %d, but the policy has %d identities", w.Identity, identities)
	case w.Mode > Protect || w.OnDeny > Silent || w.Unready > UnreadyDeny:
		return fmt.Errorf("has mode %s, on_deny %s, unready %s, one of which does not exist", w.Mode, w.OnDeny, w.Unready)
	}
	return nil
}

func (r *RuleSpec) check(groups uint32) error {
	switch {
	case r.ID == 0:
		return fmt.Errorf("id 0 is reserved for the defaults of the modes")
	case r.From >= groups:
		return fmt.Errorf("comes from group %d, but the policy has %d groups", r.From, groups)
	case r.To >= groups:
		return fmt.Errorf("goes to group %d, but the policy has %d groups", r.To, groups)
	}
	for _, p := range r.Ports {
		if p.Lo > p.Hi {
			return fmt.Errorf("ports %d to %d are in descending order", p.Lo, p.Hi)
		}
	}
	for _, a := range r.Apps {
		if a == app.Undecided {
			return fmt.Errorf("names the application %s, which no session keeps", a)
		}
	}
	return nil
}
