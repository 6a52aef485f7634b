package afpacket_test

import (
	"testing"
	"time"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// An interface that leaves its namespace is reported, so that its endpoint is attached again.
func TestHookGone(t *testing.T) {
	testnet.RequireRoot(t)
	for _, how := range steerings() {
		t.Run(how.String(), func(t *testing.T) {
			g := startGuarded(t, how, backend.FailClosed)
			dev := onHost(g.n.Workloads[0]).Hook.Interface
			run(t, g.n.Host, "ip link set "+dev+" netns OTHER")
			select {
			case <-g.b.Repaired():
			case <-time.After(2 * time.Second):
				t.Fatal("not reported")
			}
			got := g.b.TakeRepairs()
			if len(got) == 0 || got[0].Part != backend.PartHook || got[0].Endpoint != 1 || got[0].Err == nil {
				t.Errorf("got %+v", got)
			}
			if err := g.a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Among thousands of other interfaces, which come and go, repairs are as quick.
func TestManyInterfaces(t *testing.T) {
	testnet.RequireRoot(t)
	g := startGuarded(t, afpacket.SteerAuto, backend.FailClosed)
	run(t, g.n.Host, "for i in $(seq 1000); do echo link add d$i type veth peer name e$i; done | ip -batch -")
	for range 3 {
		run(t, g.n.Host, "ip link set sluice-svc down")
		if d := g.repaired(backend.PartPort); d > within {
			t.Errorf("repaired after %v", d)
		}
	}
	g.works("after")
}
