package agent

import (
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/sluicenet/sluice/agent/wire"
	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/policy"
)

// Labels of a workload that say how it is attached.
const (
	labelBackend = "sluice.net/backend" // nfqueue, afpacket or auto
	labelSidecar = "sluice.net/sidecar" // true or false; without it, redirects are looked for
)

// byQueues is what status says of endpoints that are attached by queues.
const byQueues = policy.NFQueueBackend

// loopback is the interface between an application and its sidecar.
const loopback = "lo"

// CheckChoice says whether a backend has that name.
func CheckChoice(name string) bool {
	return name == policy.NFQueueBackend || name == policy.AFPacketBackend
}

// choice is the backend by which somebody wants a workload to be enforced.
type choice struct {
	backend string // policy.NFQueueBackend or policy.AFPacketBackend; "" where nobody chose
	by      string // who did: "a command", "--backend", "the label ..."
}

// choice is what counts for a workload: a command before the flag, and that before the label.
func (a *Agent) choice(t *tracked) choice {
	if t.HostNet {
		return choice{}
	}
	if a.table != nil {
		if w := a.table.Workload(t.ID); w != nil && CheckChoice(w.Backend()) {
			return choice{w.Backend(), "a command"}
		}
	}
	for _, name := range []string{t.Name, filepath.Base(t.NetNS)} {
		if c := a.cfg.Choice[name]; c != "" {
			return choice{c, "--backend"}
		}
	}
	if c := t.Labels[labelBackend]; CheckChoice(c) {
		return choice{c, "the label " + labelBackend}
	}
	return choice{}
}

// oddLabels says which of a workload's labels for us cannot be followed.
func (t *tracked) oddLabels() (out []string) {
	switch v, ok := t.Labels[labelBackend]; {
	case !ok:
	case policy.CheckBackend(v) != nil:
		out = append(out, fmt.Sprintf("the label %s says %q and is not followed: it can be nfqueue, afpacket or auto", labelBackend, v))
	case t.HostNet && v != policy.AutoBackend:
		out = append(out, fmt.Sprintf("the label %s is not followed: nothing is enforced in the host's network", labelBackend))
	}
	if v, ok := t.Labels[labelSidecar]; ok {
		if _, err := strconv.ParseBool(v); err != nil {
			out = append(out, fmt.Sprintf("the label %s says %q and is not followed: it can be true or false", labelSidecar, v))
		}
	}
	return out
}

// inStack says whether an endpoint is attached inside of its workload's network stack.
func inStack(ep *backend.Endpoint) bool {
	return ep.Kind == backend.Inline && (ep.Hook.Side == backend.StackSide || ep.Hook.Side == backend.LoopbackSide)
}

// shown is what people are told of how an endpoint is attached.
func shown(ep *backend.Endpoint) string {
	if inStack(ep) {
		return byQueues
	}
	return ep.Kind.String()
}

// sweep removes the rules that a process which was killed left in a workload.
func (a *Agent) sweep(w *workload.Workload) {
	if a.cfg.Queues == nil || w.HostNet {
		return
	}
	if err := nfqueue.Sweep(w.NetNS); err != nil {
		a.log.Debug("old rules not looked for", "workload", w.ID, "error", err)
	}
}

// lookForSidecar adds or ends the endpoint on lo, as there are redirects or not.
func (a *Agent) lookForSidecar(t *tracked) {
	if a.cfg.Queues == nil || t.HostNet {
		return
	}
	m, err := a.meshOf(t)
	if err != nil && !m.Any() {
		a.log.Debug("redirects not looked for", "workload", t.ID, "error", err)
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
		a.log.Info("sidecar gone", "workload", t.ID)
	case before.Any() && e != nil:
		e.plans = []wire.Plan{wire.Loopback(&t.Workload, &e.iface, m)}
	default:
		t.endpoints[loopback] = &endpoint{id: a.endpointID(t.ID, loopback), iface: workload.Interface{Name: loopback, Index: 1, Kind: "loopback"}}
		a.log.Info("sidecar found", "workload", t.ID, "out", m.Out, "in", m.In)
	}
}

// meshOf says what a workload's rules redirect to a sidecar; its label may say it instead.
func (a *Agent) meshOf(t *tracked) (wire.Mesh, error) {
	if there, err := strconv.ParseBool(t.Labels[labelSidecar]); err == nil {
		return wire.Mesh{Out: there, In: there}, nil
	}
	return wire.Redirects(t.NetNS)
}
