package agent_test

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/agent"
	"github.com/sluicenet/sluice/agent/workload"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// attached returns the endpoints of the dataplane by the names of their interfaces.
func (d *dataplane) attached() map[string]backend.Endpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[string]backend.Endpoint{}
	for _, ep := range d.eps {
		out[ep.Interface] = ep
	}
	return out
}

// only waits until one endpoint is attached, on an interface, and returns it.
func (l *lab) only(what, iface string) (ep backend.Endpoint) {
	l.t.Helper()
	l.until(what, func() bool {
		all := l.plane.attached()
		ep = all[iface]
		return len(all) == 1 && ep.ID != 0
	})
	return ep
}

// interfaces makes interfaces in a workload and returns them; without a MAC address where the name is of a tun.
func interfaces(t *testing.T, w *testnet.Workload, names ...string) (out []workload.Interface) {
	t.Helper()
	for i, name := range names {
		n := workload.Interface{Name: name, Kind: "bridge", Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, byte(i), 1}), 24)}}
		add := []string{"link", "add", name, "type", "bridge"}
		if strings.HasPrefix(name, "tun") {
			n.Kind, add = "tun", []string{"tuntap", "add", "dev", name, "mode", "tun"}
		}
		if out, err := w.Command("ip", add...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		w.Do(func() error {
			x, err := net.InterfaceByName(name)
			if err == nil {
				n.Index, n.MAC = x.Index, x.HardwareAddr.String()
			}
			return err
		})
		out = append(out, n)
	}
	return out
}

// TestQueuesOfAll: the queues of a workload are for all interfaces that nothing else judges, and stay where their
// own interface is gone, so that none is unjudged for a moment.
func TestQueuesOfAll(t *testing.T) {
	testnet.RequireRoot(t)
	web := testnet.New(t).Bridge("web").Workloads[0]
	l := newLab(t)
	l.stop()
	l.config = agent.Config{Backend: noBackend{"rings"}, Queues: noBackend{"queues"}}
	l.start()
	e := event(web)
	eth0, more := e.Workload.Interfaces[0], interfaces(t, web, "eth1", "eth2")
	e.Workload.Labels = map[string]string{"sluice.net/backend": "nfqueue"}
	with := func(list ...workload.Interface) {
		e.Workload.Interfaces = list
		l.source <- e
	}
	protect := map[string]policy.Mode{e.Workload.ID: policy.Protect}
	l.put(protect)
	l.until("the policy applied", l.enforced)
	with(eth0)
	l.source <- workload.Event{Kind: workload.Synced}
	first := l.only("attached by queues", "eth0")
	if first.Hook.Side != backend.StackSide || len(first.Others) > 0 {
		t.Fatalf("attached as %+v", first)
	}
	with(eth0, more[0])
	l.shows("the new interface judged by the same queues", func(w *controlv1.Workload, _ *controlv1.ReportStatusRequest) bool {
		return len(w.Interfaces) == 2 && w.Interfaces[1].Backend == "nfqueue" && strings.Contains(w.Interfaces[1].Note, "queues of the workload")
	})
	if ep := l.only("no attachment of its own", "eth0"); !slices.Equal(ep.Further, []int{more[0].Index}) {
		t.Errorf("queues of eth0 besides: %v, want [%d]", ep.Further, more[0].Index)
	}
	if out, err := web.Host.Command("ip", "link", "del", web.HostInterface).CombinedOutput(); err != nil {
		t.Fatalf("delete eth0: %v: %s", err, out)
	}
	with(more[0])
	if next := l.only("queues taken over", "eth1"); next.ID != first.ID || next.Index != more[0].Index {
		t.Errorf("taken over as %+v, was %+v", next, first)
	}
	with()
	l.shows("no interface", func(w *controlv1.Workload, _ *controlv1.ReportStatusRequest) bool { return len(w.Interfaces) == 0 })
	l.only("queues without an interface", "")
	with(more[1])
	if next := l.only("taken over again", "eth2"); next.ID != first.ID {
		t.Errorf("attached again: %+v, was %+v", next, first)
	}
	l.put(map[string]policy.Mode{e.Workload.ID: policy.Discover})
	l.until("copies", func() bool { return l.plane.attached()["eth2"].Kind == backend.Tap })
	with(more...)
	l.until("each has copies", func() bool { return l.plane.kinds()[backend.Tap] == 2 })
	l.put(protect)
	l.until("each has queues, with the sessions of its tap", func() bool { return l.plane.kinds()[backend.Inline] == 2 })
	with()
	l.put(map[string]policy.Mode{e.Workload.ID: policy.Discover})
	l.until("nothing without an interface", func() bool { return len(l.plane.attached()) == 0 })
}

// TestQueuesBesideRings: queues leave the interfaces to the rings that these have, and no other.
func TestQueuesBesideRings(t *testing.T) {
	testnet.RequireRoot(t)
	web := testnet.New(t).Bridge("web").Workloads[0]
	l := newLab(t)
	l.stop()
	l.config = agent.Config{Backend: noBackend{"rings"}, Queues: noBackend{"queues"}}
	l.start()
	e := event(web)
	eth0, more := e.Workload.Interfaces[0], interfaces(t, web, "tun0", "tun1", "brin")
	with := func(list ...workload.Interface) {
		e.Workload.Interfaces = list
		l.source <- e
	}
	l.put(map[string]policy.Mode{e.Workload.ID: policy.Protect})
	l.until("the policy applied", l.enforced)
	leaves := func(what, iface string, want ...int) {
		t.Helper()
		var got []int
		l.until(what, func() bool {
			got = l.plane.attached()[iface].Others
			return slices.Equal(got, want)
		})
	}
	with(more[0], eth0)
	l.source <- workload.Event{Kind: workload.Synced}
	leaves("eth0 left to its rings", "tun0", eth0.Index)
	brin := more[2]
	brin.Inner = "eth0"
	with(more[0], eth0, brin)
	leaves("what is above it, too", "tun0", eth0.Index, brin.Index)
	with(more[0], brin)
	leaves("a bridge of its own", "tun0", brin.Index)
	with(eth0)
	leaves("no tun for a moment", "", eth0.Index)
	with(eth0, more[1])
	leaves("another tun", "tun1", eth0.Index)
	if n := l.plane.kinds()[backend.Inline]; n != 2 {
		t.Errorf("%d endpoints, want 2: %+v", n, l.plane.attached())
	}
	l.plane.mu.Lock()
	l.plane.failSide = func(s backend.Side) bool { return s != backend.StackSide }
	l.plane.mu.Unlock()
	lost := l.plane.attached()["eth0"].ID
	_ = l.plane.Detach(lost)
	l.plane.lost <- lost
	l.until("queues where rings are unavailable", func() bool {
		all := l.plane.attached()
		return all["eth0"].Hook.Side == backend.StackSide && len(all["tun1"].Others) == 0
	})
}
