package agent_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/agent"
	"github.com/sluicenet/sluice/agent/workload"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// TestNetworksInside: a bridge of nested containers is an interface like any other, and described as what it is; with
// the label for forwarding it is left to the workload, by each datapath, but a bridge that leads out is not.
func TestNetworksInside(t *testing.T) {
	testnet.RequireRoot(t)
	web := testnet.New(t).Bridge("web").Workloads[0]
	docker0 := interfaces(t, web, "docker0")[0]
	for _, backend := range []string{"auto", "nfqueue"} {
		l := newLab(t)
		l.stop()
		l.config = agent.Config{Backend: noBackend{"rings"}, Queues: noBackend{"queues"}}
		l.start()
		e := event(web)
		eth0 := e.Workload.Interfaces[0]
		give := func(forwarding string, inner string) {
			docker0.Inner = inner
			e.Workload.Interfaces = []workload.Interface{eth0, docker0}
			e.Workload.Labels = map[string]string{"sluice.net/backend": backend, "sluice.net/forwarding": forwarding}
			l.source <- e
		}
		noted := func(what, text string, attached int) {
			l.shows(what, func(w *controlv1.Workload, _ *controlv1.ReportStatusRequest) bool {
				return len(w.Interfaces) == 2 && strings.Contains(w.Interfaces[1].Note, text) && len(l.plane.attached()) == attached
			})
		}
		l.put(map[string]policy.Mode{e.Workload.ID: policy.Protect})
		l.until("the policy applied", l.enforced)
		give("true", "")
		l.source <- workload.Event{Kind: workload.Synced}
		noted(backend+": left to the workload", "not judged here", 1)
		if ep := l.only(backend+": only what leads out", eth0.Name); backend == "nfqueue" && !slices.Equal(ep.Others, []int{docker0.Index}) {
			t.Errorf("queues leave interfaces %v to others, want [%d]", ep.Others, docker0.Index)
		}
		give("true", eth0.Name)
		noted(backend+": the bridge has taken the interface", "judged", 1)
		give("false", "")
		noted(backend+": judged as from outside", "unless the workload has the label", map[string]int{"auto": 2, "nfqueue": 1}[backend])
		give("true", "")
		noted(backend+": left to the workload again", "not judged here", 1)
		l.stop()
	}
}
