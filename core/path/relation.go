package path

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/related"
	"github.com/sluicenet/sluice/core/session"
)

// relations are of the sessions that belong to another one.
type relations map[session.Key]relation

// record records what a session belongs to.
func (r *relations) record(s *session.Session, x relation) {
	if *r == nil {
		*r = make(relations)
	}
	(*r)[s.Key] = x
}

// decideRelated returns the decision on a session that belongs to another: that of the other one, as it
// would be taken now. Where that does not allow it, a rule of its own may. A session that could
// answer passed policy, so that one which policy waits for is as good as allowed.
func decideRelated(d *decider, v *View, s *session.Session) (a decision, ok bool) {
	if s.Marks&session.Related == 0 || v.pol == nil {
		return a, false
	}
	r, ok := d.relations[s.Key]
	if !ok {
		return a, false
	}
	a = v.pol.Decide(&r.query)
	switch a.Verdict {
	case flow.Pending:
		a.Verdict = flow.Allow
	case flow.Deny, flow.Violate, flow.Learn:
		if a.Reason == flow.ByQuarantine {
			return a, true
		}
		if own := d.about(v, s); a.Verdict == flow.Deny || own.Verdict == flow.Allow || own.Verdict == flow.Open {
			return own, true
		}
	}
	a.Reason = flow.ByRelated
	return a, true
}

// followParent updates what a session is judged by from the session that it belongs to.
func (l *lifecycle) followParent(s *session.Session) {
	r, ok := l.decide.relations[s.Key]
	if !ok {
		return
	}
	if p := l.table.At(r.parent); p != nil && p.ID == r.id {
		r.query = l.decide.query(p)
		l.decide.relations[s.Key] = r
	}
}

// relatedAttr is the attribute that holds what a session belongs to.
const relatedAttr = "related"

// describe returns the attribute of sessions that belong to another one.
func describe(d *decider, parent *session.Session) *flow.Detail {
	q := d.query(parent)
	text := policy.PortSpec{Proto: q.Proto, Lo: q.Port, Hi: q.Port}.String()
	switch {
	case !policy.HasPorts(q.Proto):
		text = policy.ProtoName(q.Proto)
	case parent.Marks&session.Asks == 0 && q.App != app.Undecided && q.App != app.Unknown:
		text += " " + q.App.Name()
	}
	if parent.Marks&session.Asks != 0 {
		group, _ := parent.Server()
		text += " to " + group.Netip().String()
	}
	return &flow.Detail{Attrs: []flow.Pair{{Key: relatedAttr, Value: text}}}
}

// describe returns a session's attributes with the one that states what it belongs to.
func (r relations) describe(s *session.Session, detail *flow.Detail) *flow.Detail {
	x, ok := r[s.Key]
	switch {
	case !ok:
		return detail
	case detail == nil:
		return x.detail
	}
	return &flow.Detail{Attrs: append(append([]flow.Pair(nil), detail.Attrs...), x.detail.Attrs...)}
}

// kin is what moves with a session of what belongs to it.
type kin struct {
	relation relation // valid if related
	related  bool
	expects  []related.Expectation
}

// takeKin removes the expectations of the sessions of an endpoint, and of its workload.
func (l *lifecycle) takeKin(endpoint uint32) map[uint64][]related.Expectation {
	list := l.expected.Take(endpoint)
	if v := l.views.view(endpoint); v != nil && v.number() != endpoint {
		list = append(list, l.expected.Take(v.number())...)
	}
	if len(list) == 0 {
		return nil
	}
	out := make(map[uint64][]related.Expectation)
	for _, e := range list {
		out[e.ID] = append(out[e.ID], e)
	}
	return out
}

// kinOf removes what belongs to a session that moves.
func (l *lifecycle) kinOf(s *session.Session, expects map[uint64][]related.Expectation) (k kin) {
	k.relation, k.related = l.decide.relations[s.Key]
	delete(l.decide.relations, s.Key)
	k.expects = expects[s.ID]
	delete(expects, s.ID)
	return k
}

// restoreKin puts back what belongs to sessions that stay.
func (l *lifecycle) restoreKin(expects map[uint64][]related.Expectation) {
	for _, list := range expects {
		for i := range list {
			l.expectOne(&list[i])
		}
	}
}

// adoptKin takes over what belongs to a session that came.
func (l *lifecycle) adoptKin(s *session.Session, k *kin) {
	if k.related {
		k.relation.parent = 0 // a handle of the other table
		l.decide.relations.record(s, k.relation)
	}
	for i := range k.expects {
		k.expects[i].Session = l.table.Ref(s)
		l.expectOne(&k.expects[i])
	}
}
