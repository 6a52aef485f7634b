package policy

import (
	"errors"
	"slices"
)

// Lineage is the history of the store that a policy was made from. An agent compares it with the policy that
// it enforces: a store that was emptied, replaced or set back to an older state does not have that policy in
// its history.
type Lineage struct {
	// Terms are the runs of controllers that made policies, the oldest first. Versions of a term begin at
	// First and end before the First of the next.
	Terms []Term `json:"terms"`
	// Accepted are policies outside of this history that a user let this store succeed.
	Accepted []Origin `json:"accepted,omitempty"`
}

// Term is one run of a controller.
type Term struct {
	ID    string `json:"id"` // random
	First uint64 `json:"first"`
}

// Origin is where a policy comes from.
type Origin struct {
	Term    string `json:"term"`
	Version uint64 `json:"version"`
}

// Limits of a Lineage, so that it stays small. An agent that was away for longer than maxTerms runs of
// controllers keeps its policy until a user accepts the store.
const (
	maxTerms    = 256
	maxAccepted = 64
)

// Begin adds a term whose first version is first. Terms without a version are removed.
func (l *Lineage) Begin(id string, first uint64) {
	for n := len(l.Terms); n > 0 && l.Terms[n-1].First >= first; n-- {
		l.Terms = l.Terms[:n-1]
	}
	l.Terms = append(l.Terms, Term{id, first})
	l.Terms = l.Terms[max(0, len(l.Terms)-maxTerms):]
}

// Accept makes the store the successor of a policy outside of its history.
func (l *Lineage) Accept(o Origin) {
	l.Accepted = append(l.Accepted, o)
	l.Accepted = l.Accepted[max(0, len(l.Accepted)-maxAccepted):]
}

// Clone returns a copy.
func (l *Lineage) Clone() *Lineage {
	return &Lineage{append([]Term(nil), l.Terms...), append([]Origin(nil), l.Accepted...)}
}

// has reports whether a policy is in the history, which ends with version last.
func (l *Lineage) has(o Origin, last uint64) bool {
	for i := range l.Terms {
		if l.Terms[i].ID != o.Term {
			continue
		}
		if i+1 < len(l.Terms) {
			last = l.Terms[i+1].First - 1
		}
		return o.Version >= l.Terms[i].First && o.Version <= last
	}
	return false
}

// accepts reports whether a user let the store succeed a policy.
func (l *Lineage) accepts(o Origin) bool {
	for _, a := range l.Accepted {
		if a.Term == o.Term && a.Version >= o.Version {
			return true
		}
	}
	return false
}

// related reports whether two histories have a term in common.
func (l *Lineage) related(other *Lineage) bool {
	return other != nil && slices.ContainsFunc(l.Terms, func(t Term) bool {
		return slices.ContainsFunc(other.Terms, func(o Term) bool { return o.ID == t.ID })
	})
}

// Errors of Follows.
var (
	ErrOlder    = errors.New("the store was set back to an older state")
	ErrStranger = errors.New("the store is empty or another one")
)

// Origin returns where a policy comes from. Its Term is "" for policies of earlier versions.
func (s *Spec) Origin() Origin {
	o := Origin{Version: s.Version}
	if s.Lineage != nil && len(s.Lineage.Terms) > 0 {
		o.Term = s.Lineage.Terms[len(s.Lineage.Terms)-1].ID
	}
	return o
}

// Follows returns nil if the store that s was made from has the policy before in its history, or a user let
// it succeed that; else ErrOlder or ErrStranger.
func (s *Spec) Follows(before *Spec) error {
	o := before.Origin()
	l := s.Lineage
	if l == nil {
		l = &Lineage{}
	}
	switch {
	case s.Origin() == o:
		return nil // the same
	case l.accepts(o) && s.Version > o.Version:
		return nil
	case o.Term == "" && s.Version > o.Version && (len(l.Terms) == 0 || l.Terms[0].First > o.Version):
		return nil // made before the history began
	case s.Version > o.Version && l.has(o, s.Version):
		return nil
	case o.Term == "" || l.related(before.Lineage):
		return ErrOlder
	}
	return ErrStranger
}

// Enforces reports whether a policy refuses connections of any workload, present or new.
func (s *Spec) Enforces() bool {
	for i := range s.Workloads {
		if s.Workloads[i].Mode == Protect || s.Workloads[i].Quarantined {
			return true
		}
	}
	for i := range s.Newcomers {
		if s.Newcomers[i].Mode == Protect {
			return true
		}
	}
	return false
}
