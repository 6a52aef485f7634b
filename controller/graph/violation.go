package graph

import (
	"github.com/sluicenet/sluice/core/flow"
)

// violationKind is what makes two violations the same.
type violationKind struct {
	Kind
	client, server string
	reporter       string
	egress         bool
	reason         flow.Reason
	rule           uint32
}

// Violation is sessions of one kind that an end refused, or would have in protect mode.
type Violation struct {
	Kind
	Client   string      `json:"client"` // addresses
	Server   string      `json:"server"`
	Reporter string      `json:"reporter"` // id of the workload whose end decided
	Egress   bool        `json:"egress,omitempty"`
	Reason   flow.Reason `json:"reason"`
	Rule     uint32      `json:"rule,omitempty"`
	Count    uint64      `json:"count"`
	First    int64       `json:"first"`
	Last     int64       `json:"last"`
}

func (v *Violation) kind() violationKind {
	return violationKind{v.Kind, v.Client, v.Server, v.Reporter, v.Egress, v.Reason, v.Rule}
}

// violation notes a violating observation. Each session counts once, whenever its verdict
// became a violation; a report that only adds packets or ends moves the time.
func (g *Graph) violation(o *Observation, s *live) {
	if o.Verdict != flow.Violate && o.Verdict != flow.Deny {
		return
	}
	n := o.Sessions
	if s != nil {
		n = 1
		if s.violated {
			n = 0
		}
		s.violated = true
	}
	x := Violation{Kind: o.Kind, Client: o.Client, Server: o.Server, Reporter: o.Reporter, Egress: o.Egress, Reason: o.Reason, Rule: o.Rule, First: o.First}
	v, ok := g.violations.touch(x.kind())
	if !ok {
		v = &x
		if s == nil {
			n = max(n, 1)
		}
		g.totals.Evicted += g.violations.put(x.kind(), v, g.limits.Violations)
	}
	v.Count += n
	v.First, v.Last = min(v.First, o.First), max(v.Last, o.Last)
	g.totals.Violations += n
}
