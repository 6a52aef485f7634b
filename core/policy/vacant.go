package policy

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// Vacancy is how long connections to an address that no workload has any more are judged as those with its
// last owner, in ns: as long as a container takes to start again, or as its clients remember its address.
const Vacancy = int64(30e9)

// vacant returns the decision about a connection that a client opens to an address without an owner, d by
// default. What was allowed with the last owner is no violation: nobody is there, or the same service is
// about to be. Of TCP only the handshake passes: payload shows that somebody is there, and waits until it
// is known who.
func (w *Workload) vacant(q *Query, o *owners, d Decision) Decision {
	if !o.vacant || d.Reason != flow.ByDefault || d.Verdict != flow.Deny && d.Verdict != flow.Violate || q.Dir != packet.Egress || q.Midstream {
		return d
	}
	last := w.decideFor(q, o.last)
	switch {
	case last.Verdict != flow.Allow && last.Verdict != flow.Pending:
		return d
	case q.Proto == packet.ProtoTCP && q.App == app.Undecided:
		last.Verdict = flow.Pending
	case q.Proto == packet.ProtoTCP && q.App != app.None:
		return d
	}
	return last
}
