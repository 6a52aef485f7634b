package policy

import "github.com/sluicenet/sluice/core/flow"

// DecideEither returns the verdict on a connection whose client is uncertain. q is the
// likelier orientation, and port is the server's port in the other one. It denies only what
// both orientations deny; what one of them allows, or may allow once the application is
// known, has the decision of that one, and reversed reports whether it is the other. Of equal
// verdicts q's is returned. It allocates nothing.
func (w *Workload) DecideEither(q *Query, port uint16) (d Decision, reversed bool) {
	d = w.Decide(q)
	if settled(d.Verdict) {
		return d, false
	}
	r := *q
	r.Dir, r.Port = q.Dir.Reverse(), port
	if other := w.Decide(&r); rank(other.Verdict) > rank(d.Verdict) {
		return other, true
	}
	return d, false
}

// settled reports whether no other orientation could have a better verdict.
func settled(v flow.Verdict) bool { return v == flow.Open || v == flow.Allow }

// rank orders verdicts by what they let through: allowed by policy, possibly allowed later,
// learned, passed because nothing is enforced, denied.
func rank(v flow.Verdict) int {
	switch v {
	case flow.Open, flow.Allow:
		return 4
	case flow.Pending:
		return 3
	case flow.Learn:
		return 2
	case flow.Violate:
		return 1
	}
	return 0
}
