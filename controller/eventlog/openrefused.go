package eventlog

import (
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/vocab"
)

// openFor is how long a connection has been open at least that is refused later than at its beginning, ns.
const openFor = int64(1e9)

// refusesOpen reports whether the report refuses a connection that was open, and may have been a violation
// that passed before. before is what the same end had decided; nil where that is unknown.
func (r *Report) refusesOpen(before *controlv1.EndVerdict) bool {
	e := r.Entry.Event
	if e.Verdict != controlv1.Verdict_VERDICT_DENY {
		return false
	}
	return e.Stamp-r.Began >= openFor || before != nil && before.Verdict != controlv1.Verdict_VERDICT_PENDING && vocab.FlowVerdict(before.Verdict).Passes()
}

// violates reports whether policy refused, or would refuse.
func (r *Report) violates() bool { return violates(r.Entry.Event.Verdict) }

func violates(v controlv1.Verdict) bool {
	return v == controlv1.Verdict_VERDICT_VIOLATE || v == controlv1.Verdict_VERDICT_DENY
}
