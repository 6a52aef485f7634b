package agent

import (
	"context"
	"maps"
	"slices"

	"github.com/sluicenet/sluice/core/backend"
)

// Queues inside a workload take the packets of all its interfaces that no other attachment judges: one that
// is new, or was made again, is enforced before the agent notices it. So such an interface gets no attachment
// of its own, and the queues stay where their own interface is gone.

// queueOfAll returns the attached endpoint whose queues take the packets of the whole namespace; nil for none.
func (t *tracked) queueOfAll() *endpoint {
	var first *endpoint
	for _, e := range t.endpoints {
		if ofAll(&e.at) && (first == nil || e.at.ID < first.at.ID) {
			first = e
		}
	}
	return first
}

// ofAll reports whether an endpoint is attached by queues that take the packets of the whole namespace.
func ofAll(ep *backend.Endpoint) bool {
	return ep.Kind == backend.Inline && ep.Hook.Side == backend.StackSide
}

// shares reports whether an endpoint can be judged by the queues of another: it was not attached before, so
// that there are no sessions to hand over, and queues are what it would get.
func (e *endpoint) shares() bool {
	return e.at.Kind == backend.NoKind && !e.absent && e.planned && e.plans[0].Hook.Side == backend.StackSide
}

// keepAbsent keeps an endpoint whose interface is gone where its queues take the packets of others, too.
func (a *attacher) keepAbsent(t *tracked, e *endpoint) bool {
	e.absent = ofAll(&e.at) && a.stillQueued(t, e)
	return e.absent
}

// stillQueued reports whether an endpoint is wanted as it is attached, by queues.
func (a *attacher) stillQueued(t *tracked, e *endpoint) bool {
	kind, _ := a.policy.wanted(t.ID)
	return kind == backend.Inline && a.policy.choice(t) == e.choice
}

// dropAbsent detaches endpoints without an interface whose queues are no longer wanted.
func (a *attacher) dropAbsent(t *tracked) {
	for _, name := range slices.Sorted(maps.Keys(t.endpoints)) {
		if e := t.endpoints[name]; e.absent && !a.stillQueued(t, e) {
			a.detach(t, name)
		}
	}
}

// elsewhere reports whether an endpoint needs no attachment, because its packets are judged by another.
func (a *attacher) elsewhere(t *tracked, e *endpoint, kind backend.Kind) bool {
	if !t.inside(e) {
		a.takeOver(t, e)
		if t.judge(e, kind) == e {
			return false
		}
	}
	a.stopCarried(t, e)
	return true
}

// takeOver gives the attachment of an endpoint without an interface to one that would share it.
func (a *attacher) takeOver(t *tracked, e *endpoint) {
	q := t.queueOfAll()
	if q == nil || !q.absent || !e.shares() {
		return
	}
	e.id, e.at, e.stays, e.sources = q.id, q.at, q.stays, q.sources
	a.ids.set(t.ID, e.iface.Name, e.id)
	maps.DeleteFunc(t.endpoints, func(_ string, x *endpoint) bool { return x == q })
}

// addNumbers sets the numbers of the interfaces that an endpoint's queues leave to other attachments: those on
// which frames are steered, or will be in a moment, and what is above them; and of those that they take besides
// their own.
func (t *tracked) addNumbers(e *endpoint, ep *backend.Endpoint) {
	ep.Others, ep.Further = nil, nil
	if !ofAll(ep) {
		return
	}
	for _, x := range t.endpoints {
		j := t.judge(x, backend.Inline)
		switch {
		case x == e || x.absent || x.moved || x.iface.Name == loopback:
		case t.inside(x):
			ep.Others = append(ep.Others, x.iface.Index)
		case j == e:
			ep.Further = append(ep.Further, x.iface.Index)
		case ofAll(&j.at):
		case j.at.Kind == backend.Inline || j.at.Kind == backend.Tap && j.err == "":
			ep.Others = append(ep.Others, x.iface.Index)
		}
	}
	slices.Sort(ep.Others)
	slices.Sort(ep.Further)
}

// updateQueues makes the queues of a workload leave what is attached otherwise by now, and take what is not.
func (a *attacher) updateQueues(ctx context.Context, t *tracked) {
	for _, e := range t.endpoints {
		ep := e.at
		t.addNumbers(e, &ep)
		if !ofAll(&ep) || e.err != "" || e.at.SameInterface(&ep) {
			continue
		}
		if err := a.attachAs(ctx, t, e, ep); err != nil && ctx.Err() == nil {
			a.log.Warn("queues not changed", "workload", t.ID, "interface", e.iface.Name, "error", err)
		}
	}
}

// judgedElsewhere returns by which endpoint the frames of another are judged; "" for itself.
func (a *attacher) judgedElsewhere(t *tracked, e *endpoint) string {
	kind, _ := a.policy.wanted(t.ID)
	switch j := t.judge(e, kind); {
	case j == e:
		return ""
	case ofAll(&j.at):
		return "judged by the queues of the workload, which take the packets of all its interfaces that are not steered"
	default:
		return "its frames are judged at " + e.iface.Inner + ", which carries them"
	}
}

// bridges reports whether an endpoint's interface is a port of a bridge inside, whose frames queues do not get.
func (t *tracked) bridges(e *endpoint) bool {
	if !ofAll(&e.at) {
		return false
	}
	for i := range t.Interfaces {
		if n := &t.Interfaces[i]; n.Kind == "bridge" && n.Inner == e.iface.Name {
			return true
		}
	}
	return false
}
