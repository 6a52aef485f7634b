package agent

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/sluicenet/sluice/agent/wire"
	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/policy"
)

// Labels of a workload that choose how it is attached.
const (
	labelBackend = "sluice.net/backend" // nfqueue, afpacket or auto
	labelSidecar = "sluice.net/sidecar" // true or false; without it, redirects are detected
)

// byQueues is the status text of endpoints that are attached by queues.
const byQueues = policy.NFQueueBackend

// loopback is the interface between an application and its sidecar.
const loopback = "lo"

// CheckChoice returns an error unless a backend has that name.
func CheckChoice(name string) bool {
	return name == policy.NFQueueBackend || name == policy.AFPacketBackend
}

// choice is the configured backend of a workload.
type choice struct {
	backend string // policy.NFQueueBackend or policy.AFPacketBackend; "" if none is configured
	by      string // the origin: "a command", "--backend", "the label ..."
}

// choice returns the backend configured for a workload: a command overrides the flag, and that the label.
func (p *enforcement) choice(t *tracked) choice {
	if t.HostNet {
		return choice{}
	}
	if p.table != nil {
		if w := p.table.Workload(t.ID); w != nil && CheckChoice(w.Backend()) {
			return choice{w.Backend(), "a command"}
		}
	}
	for _, name := range []string{t.Name, filepath.Base(t.NetNS)} {
		if c := p.choices[name]; c != "" {
			return choice{c, "--backend"}
		}
	}
	if c := t.Labels[labelBackend]; CheckChoice(c) {
		return choice{c, "the label " + labelBackend}
	}
	return choice{}
}

// oddLabels returns warnings about labels of a workload that have no valid value.
func (t *tracked) oddLabels() (out []string) {
	switch v, ok := t.Labels[labelBackend]; {
	case !ok:
	case policy.CheckBackend(v) != nil:
		out = append(out, fmt.Sprintf("label %s ignored: value %q is not nfqueue, afpacket or auto", labelBackend, v))
	case t.HostNet && v != policy.AutoBackend:
		out = append(out, fmt.Sprintf("label %s ignored: nothing is enforced in the host's network", labelBackend))
	}
	if v, ok := t.Labels[labelSidecar]; ok {
		if _, err := strconv.ParseBool(v); err != nil {
			out = append(out, fmt.Sprintf("label %s ignored: value %q is not true or false", labelSidecar, v))
		}
	}
	return out
}

// inStack reports whether an endpoint is attached inside its workload's network stack.
func inStack(ep *backend.Endpoint) bool {
	return ep.Kind == backend.Inline && (ep.Hook.Side == backend.StackSide || ep.Hook.Side == backend.LoopbackSide)
}

// shown returns how an endpoint is attached, in text.
func backendText(ep *backend.Endpoint) string {
	if inStack(ep) {
		return byQueues
	}
	return ep.Kind.String()
}

// sweep removes the rules that a killed process left in a workload.
func (a *attacher) sweep(w *workload.Workload) {
	if a.cfg.Queues == nil || w.HostNet {
		return
	}
	switch err := nfqueue.Sweep(w.NetNS); {
	case err == nil:
	case errors.Is(err, nfqueue.ErrInUse):
		a.log.Warn("workload shared with another process", "workload", w.ID, "error", err)
	default:
		a.log.Debug("stale rules not removed", "workload", w.ID, "error", err)
	}
}

// detectSidecar adds or removes the endpoint on lo, depending on redirects.
func (a *attacher) detectSidecar(t *tracked) {
	if a.cfg.Queues == nil || t.HostNet {
		return
	}
	m, err := a.meshOf(t)
	if err != nil && !m.Any() {
		a.log.Debug("redirects to a sidecar not read", "workload", t.ID, "error", err)
		return
	}
	if m == t.mesh {
		return
	}
	before := t.mesh
	t.mesh = m
	switch e := t.endpoints[loopback]; {
	case !m.Any():
		a.detach(t, loopback)
		a.log.Info("sidecar removed", "workload", t.ID)
	case before.Any() && e != nil:
		e.plans = []wire.Plan{wire.Loopback(&t.Workload, &e.iface, m)}
	default:
		t.endpoints[loopback] = &endpoint{id: a.ids.of(t.ID, loopback), iface: workload.Interface{Name: loopback, Index: 1, Kind: "loopback"}}
		a.log.Info("sidecar found", "workload", t.ID, "out", m.Out, "in", m.In)
	}
}

// meshOf returns what a workload's rules, or else its label, redirect to a sidecar.
func (a *attacher) meshOf(t *tracked) (wire.Mesh, error) {
	if there, err := strconv.ParseBool(t.Labels[labelSidecar]); err == nil {
		return wire.Mesh{Out: there, In: there}, nil
	}
	return wire.Redirects(t.NetNS)
}
