package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// anyOther represents an application that no rule names.
const anyOther = app.None - 1

// sentence is the answer to a Why in words. Where it depends on the application, it states
// for which ones it goes which way.
func (q *question) sentence(ds []policy.Decision) string {
	what := fmt.Sprintf("%s to %s on %s", q.from.name(), q.to.name(), portText(q.proto, q.port))
	if q.app != app.Undecided {
		return fmt.Sprintf("%s with %s %s.", what, q.app.Name(), q.outcome(ds))
	}
	if together(ds) != flow.Pending {
		return fmt.Sprintf("%s %s, whatever the application.", what, q.outcome(ds))
	}
	other := q.outcome(q.decide(anyOther))
	by := make(map[string][]string)
	var outcomes []string
	for _, id := range q.apps {
		o := q.outcome(q.decide(id))
		if o == other {
			continue
		}
		if by[o] == nil {
			outcomes = append(outcomes, o)
		}
		by[o] = append(by[o], id.Name())
	}
	parts := make([]string, 0, len(outcomes)+1)
	for _, o := range outcomes {
		parts = append(parts, fmt.Sprintf("with %s %s", strings.Join(by[o], ", "), o))
	}
	if len(parts) == 0 {
		return fmt.Sprintf("%s %s, whatever the application.", what, other)
	}
	return fmt.Sprintf("%s %s; with anything else it %s.", what, strings.Join(parts, "; "), other)
}

// decide asks every managed end about an application.
func (q *question) decide(id app.ID) []policy.Decision {
	out := make([]policy.Decision, len(q.judges))
	for i, j := range q.judges {
		out[i] = j.done(j.workload.Decide(q.query(j, id)))
	}
	return out
}

// outcome is what becomes of the connection and which end decides it.
func (q *question) outcome(ds []policy.Decision) string {
	verdict := together(ds)
	i := slices.IndexFunc(ds, func(d policy.Decision) bool { return d.Verdict == verdict })
	side := "client's"
	if q.judges[i].dir == packet.Ingress {
		side = "server's"
	}
	why := q.judges[i].because(ds[i])
	switch verdict {
	case flow.Open:
		return "passes: it is not subject to policy"
	case flow.Learn:
		return "passes and is learned: " + why
	case flow.Allow:
		return "is allowed: " + why
	case flow.Violate:
		return "passes and is reported as a violation: " + why + " at the " + side + " end"
	case flow.Deny:
		return "is denied: " + why + " at the " + side + " end"
	}
	return "waits until its application is known"
}

// because is the reason of a decision in words.
func (j *judge) because(d policy.Decision) string {
	switch d.Reason {
	case flow.ByRule:
		return fmt.Sprintf("rule %d decides", d.Rule)
	case flow.ByQuarantine:
		return "the workload is quarantined"
	}
	if j.member.workload.HostNet {
		return fmt.Sprintf("no rule matches in mode %s (%s)", j.workload.Mode(), hostNote)
	}
	return fmt.Sprintf("no rule matches in mode %s", j.workload.Mode())
}
