package agent

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/sluicenet/sluice/agent/wire"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/policy"
)

// plan finds the possible datapaths of an endpoint: when it is new, when its choice changed, and when
// it is about to go inline.
func (a *attacher) plan(t *tracked, e *endpoint, kind backend.Kind, managed wire.Managed) error {
	c := a.policy.choice(t)
	if e.planned && (e.moved || e.absent) {
		return nil
	}
	if e.planned && e.choice == c && (kind != backend.Inline || e.at.Kind == backend.Inline) {
		return nil
	}
	plans, err := a.plansOf(t, e, c, managed)
	if err != nil {
		return err
	}
	e.plans, e.planned, e.choice = plans, true, c
	return nil
}

// plansOf returns the possible datapaths of an endpoint, the best first. If the chosen one is unavailable,
// another one is better than none.
func (a *attacher) plansOf(t *tracked, e *endpoint, c choice, managed wire.Managed) ([]wire.Plan, error) {
	if e.iface.Name == loopback {
		return []wire.Plan{wire.Loopback(&t.Workload, &e.iface, t.mesh)}, nil
	}
	rings, err := a.finder.Plan(&t.Workload, &e.iface, managed)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", e.iface.Name, err)
	}
	if a.cfg.Queues == nil {
		return []wire.Plan{rings}, nil
	}
	queues := wire.Stack(&t.Workload, &e.iface, rings)
	switch {
	case rings.TapOnly:
		return []wire.Plan{queues}, nil
	case c.backend == policy.NFQueueBackend:
		return []wire.Plan{queues, rings}, nil
	}
	return []wire.Plan{rings, queues}, nil
}

// attach attaches an endpoint as a kind: inline by the best available datapath. The error is why the best
// one is unavailable; the endpoint's at is the actual attachment.
func (a *attacher) attach(ctx context.Context, t *tracked, e *endpoint, kind backend.Kind, fail backend.FailMode) error {
	ep := backend.Endpoint{ID: e.id, Kind: kind, NetNS: t.NetNS, Interface: e.iface.Name, Index: e.iface.Index, MAC: e.plans[0].MAC, Fail: fail}
	if e.absent {
		ep.Interface, ep.Index = "", 0
	}
	if kind != backend.Inline || e.plans[0].TapOnly {
		ep.Kind = backend.Tap
		return a.attachAs(ctx, t, e, ep)
	}
	var first error
	for _, p := range e.plans {
		ep.MAC, ep.Hook = p.MAC, p.Hook
		t.addNumbers(e, &ep)
		err := a.attachAs(ctx, t, e, ep)
		if err == nil || ctx.Err() != nil {
			return cmp.Or(first, err)
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// attachAs attaches an endpoint by one datapath; after an error the previous attachment remains.
func (a *attacher) attachAs(ctx context.Context, t *tracked, e *endpoint, ep backend.Endpoint) error {
	same := e.at.SameAttachment(&ep)
	if same && e.at.SameInterface(&ep) {
		return nil
	}
	begin := time.Now()
	a.names.add(e.id, t.ID)
	be := a.cfg.Backend
	if inStack(&ep) {
		be = a.cfg.Queues
	}
	first := e.at.Kind == backend.NoKind
	var before *socketList
	if first {
		before = a.sockets.atAttach(t, e, true)
	}
	if e.sources == nil {
		a.sources.set(t, e)
	}
	if err := a.cfg.Engine.Attach(ctx, be, ep, t.ID); err != nil {
		return err
	}
	if same {
		e.at = ep // another interface, or another address
		return nil
	}
	e.at, e.stays = ep, ""
	if s, ok := a.cfg.Engine.(stayer); ok {
		e.stays = s.Stays(ep.ID)
	}
	a.log.Info("interface attached", "workload", t.ID, "interface", ep.Interface, "kind", ep.Kind, "backend", backendText(&ep), "took", time.Since(begin))
	if first {
		a.sockets.openAtAttach(t, e, before, a.sockets.atAttach(t, e, false))
	} else {
		a.sockets.refresh(t)
	}
	return nil
}

// step is the prefix of attachment errors that operators need not see.
var step = regexp.MustCompile(`^attach \S+ of .*? \((?:tap|inline)\): (?:attach endpoint \d+: )?`)

// sentence returns an attachment error for operators; at is the actual attachment.
func sentence(err error, kind backend.Kind, at *backend.Endpoint) string {
	text := step.ReplaceAllString(strings.TrimSpace(err.Error()), "")
	switch {
	case at.Kind == backend.Inline && inStack(at):
		return policy.AFPacketBackend + " unavailable: " + text + "; enforced by " + policy.NFQueueBackend + " instead"
	case at.Kind == backend.Inline:
		return policy.NFQueueBackend + " unavailable: " + text + "; enforced by " + policy.AFPacketBackend + " instead"
	case kind == backend.Inline:
		return text + "; its policy is not enforced, only watched"
	}
	return text + "; its connections are not seen"
}

// stayer is a Dataplane with queues that decided connections can leave.
type stayer interface {
	// Stays returns why those of an endpoint stay; "" if they leave.
	Stays(endpoint uint32) string
}

// why returns why an endpoint is attached as it is.
func (a *attacher) why(t *tracked, e *endpoint) string {
	if text := a.judgedElsewhere(t, e); text != "" {
		return text
	}
	if !e.planned || e.at.Kind == backend.NoKind {
		return ""
	}
	chosen := ""
	if e.choice.backend != "" {
		chosen = e.choice.backend + ", chosen by " + e.choice.by
	}
	var p wire.Plan
	for _, p = range e.plans {
		if p.Hook == e.at.Hook {
			break
		}
	}
	switch {
	case e.iface.Name == loopback && e.choice.backend == policy.AFPacketBackend:
		return p.Note + "; " + chosen + ", is for the other interfaces: on lo there are queues only"
	case e.at.Kind == backend.Tap && e.err != "":
		return "copies, because no datapath to enforce is available"
	case e.at.Kind == backend.Tap && chosen != "":
		return a.policy.mode(t.ID) + " mode takes copies; in protect: " + chosen
	case e.at.Kind == backend.Tap:
		return a.policy.mode(t.ID) + " mode takes copies"
	case e.iface.Name == loopback, chosen == "":
		return p.Note
	case (e.choice.backend == policy.NFQueueBackend) == inStack(&e.at):
		return "chosen by " + e.choice.by + "; " + p.Note
	}
	return p.Note + "; " + chosen + ", is unavailable"
}
