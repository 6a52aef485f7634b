package agent

import (
	"path/filepath"
	"strconv"

	"github.com/sluicenet/sluice/agent/wire"
	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
)

// Labels of a workload that say how it is attached.
const (
	labelBackend = "sluice.net/backend" // nfqueue or afpacket
	labelSidecar = "sluice.net/sidecar" // true or false; without it, redirects are looked for
)

// Names of backends, in labels, flags and status.
const (
	byQueues = "nfqueue"
	byRings  = "afpacket"
)

// loopback is the interface between an application and its sidecar.
const loopback = "lo"

// CheckChoice says whether a backend has that name.
func CheckChoice(name string) bool { return name == byQueues || name == byRings }

// choice is the backend by which a workload is to be enforced, "" where nobody chose,
// and who did.
func (a *Agent) choice(t *tracked) (name, why string) {
	for _, name := range []string{t.Name, filepath.Base(t.NetNS)} {
		if c := a.cfg.Choice[name]; c != "" {
			return c, "chosen by --backend"
		}
	}
	if c := t.Labels[labelBackend]; CheckChoice(c) {
		return c, "chosen by the label " + labelBackend
	}
	return "", ""
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
		e.plan = wire.Loopback(&t.Workload, &e.iface, m)
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
