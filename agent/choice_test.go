package agent_test

import (
	"context"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/agent"
	"github.com/sluicenet/sluice/agent/workload"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// noBackend stands for one: the lab's dataplane attaches nothing.
type noBackend struct{ name string }

func (noBackend) Attach(context.Context, backend.Endpoint) (backend.Attachment, error) {
	return nil, nil
}
func (noBackend) Close() error { return nil }

// newChoiceLab has a protected workload, web, and two backends.
func newChoiceLab(t *testing.T, flag map[string]string) (l *lab, e workload.Event) {
	t.Helper()
	testnet.RequireRoot(t)
	web := testnet.New(t).Bridge("web").Workloads[0]
	l = newLab(t)
	l.stop()
	l.config = agent.Config{Backend: noBackend{"rings"}, Queues: noBackend{"queues"}, Choice: flag}
	l.start()
	e = event(web)
	l.put(map[string]policy.Mode{e.Workload.ID: policy.Protect})
	l.until("the policy applied", l.enforced)
	l.source <- e
	l.source <- workload.Event{Kind: workload.Synced}
	return l, e
}

// shows waits until the first workload is reported as one that ok accepts.
func (l *lab) shows(what string, ok func(w *controlv1.Workload, s *controlv1.ReportStatusRequest) bool) {
	l.t.Helper()
	var last string
	defer func() {
		if l.t.Failed() {
			l.t.Logf("last report: %s", last)
		}
	}()
	l.until(what, func() bool {
		l.coll.mu.Lock()
		defer l.coll.mu.Unlock()
		if len(l.coll.workloads) == 0 || l.coll.status == nil {
			return false
		}
		last = l.coll.workloads[0].String() + "\n" + strings.Join(l.coll.status.Warnings, "\n")
		return ok(l.coll.workloads[0], l.coll.status)
	})
}

// by is a workload of which eth0 is attached in a way, for a reason.
func by(backend, choice, chosenBy, note string) func(*controlv1.Workload, *controlv1.ReportStatusRequest) bool {
	return func(w *controlv1.Workload, _ *controlv1.ReportStatusRequest) bool {
		i := w.Interfaces[0]
		return i.Backend == backend && w.Choice == choice && w.ChosenBy == chosenBy && strings.Contains(i.Note, note) && i.Error == ""
	}
}

// TestWhoChooses: a command before the flag before the label, each live.
func TestWhoChooses(t *testing.T) {
	l, e := newChoiceLab(t, nil)
	id, mode := e.Workload.ID, map[string]policy.Mode{e.Workload.ID: policy.Protect}
	l.shows("no choice", by("inline", "auto", "", "hooked on the host's end of its veth"))
	e.Workload.Labels = map[string]string{"sluice.net/backend": "nfqueue"}
	l.source <- e
	l.shows("the label's", by("nfqueue", "nfqueue", "the label sluice.net/backend", "chosen by the label sluice.net/backend; queues"))
	l.chosen(mode, map[string]string{id: "afpacket"})
	l.shows("the command's", by("inline", "afpacket", "a command", "chosen by a command; hooked on the host's end"))
	l.put(map[string]policy.Mode{id: policy.Monitor})
	l.shows("a choice that waits", by("tap", "nfqueue", "the label sluice.net/backend", "monitor mode takes copies; in protect: nfqueue, chosen by the label"))
	l.put(mode)
	e.Workload.Labels = map[string]string{"sluice.net/backend": "ebpf"}
	l.source <- e
	l.shows("a label that is wrong", func(w *controlv1.Workload, s *controlv1.ReportStatusRequest) bool {
		const text = `label sluice.net/backend ignored: value "ebpf" is not nfqueue, afpacket or auto`
		return w.Interfaces[0].Backend == "inline" && w.Choice == "auto" && strings.Contains(w.Note, text) && len(s.Warnings) == 1 && strings.Contains(s.Warnings[0], text)
	})
	e.Workload.Labels["sluice.net/backend"] = "auto"
	l.source <- e
	l.shows("a label that is right again", func(w *controlv1.Workload, s *controlv1.ReportStatusRequest) bool {
		return w.Note == "" && len(s.Warnings) == 0
	})
}

func TestFlagBeforeLabel(t *testing.T) {
	l, e := newChoiceLab(t, map[string]string{})
	l.config.Choice[e.Workload.Name] = "nfqueue"
	e.Workload.Labels = map[string]string{"sluice.net/backend": "afpacket"}
	l.source <- e
	l.shows("the flag's", by("nfqueue", "nfqueue", "--backend", "chosen by --backend"))
}

// TestChoiceUnavailable: what was there stays, or another way is found, and the reason is reported until it works.
func TestChoiceUnavailable(t *testing.T) {
	for _, c := range []struct{ choice, other, shown string }{{"nfqueue", "afpacket", "inline"}, {"afpacket", "nfqueue", "nfqueue"}} {
		t.Run(c.choice, func(t *testing.T) {
			l, e := newChoiceLab(t, nil)
			mode := map[string]policy.Mode{e.Workload.ID: policy.Protect}
			l.chosen(mode, map[string]string{e.Workload.ID: c.other})
			l.shows("the first choice", by(c.shown, c.other, "a command", "chosen by a command"))
			l.plane.mu.Lock()
			l.plane.failSide = func(s backend.Side) bool { return (s == backend.StackSide) == (c.choice == "nfqueue") }
			l.plane.mu.Unlock()
			l.chosen(mode, map[string]string{e.Workload.ID: c.choice})
			l.shows("that the old way stays", func(w *controlv1.Workload, s *controlv1.ReportStatusRequest) bool {
				i := w.Interfaces[0]
				return i.Backend == c.shown && w.Choice == c.choice && i.Error == c.choice+" unavailable: no inline; enforced by "+c.other+" instead" &&
					strings.HasSuffix(i.Note, c.choice+", chosen by a command, is unavailable") && len(s.WorkloadErrors) == 0 && len(s.Warnings) == 1
			})
			l.plane.mu.Lock()
			l.plane.failSide = nil
			l.plane.mu.Unlock()
			l.shows("that it worked later", func(w *controlv1.Workload, s *controlv1.ReportStatusRequest) bool {
				return w.Interfaces[0].Backend != c.shown && w.Interfaces[0].Error == "" && len(s.Warnings) == 0
			})
		})
	}
}
