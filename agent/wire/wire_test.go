package wire_test

import (
	"net"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/sluicenet/sluice/agent/wire"
	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

func managed(t *testing.T, nss ...*testnet.NS) wire.Managed {
	t.Helper()
	m := wire.Managed{}
	for _, ns := range nss {
		id, err := netns.Identity(ns.Path)
		if err != nil {
			t.Fatal(err)
		}
		m[id] = ns.Name
	}
	return m
}

func one(w *testnet.Workload) (*workload.Workload, *workload.Interface) {
	return &workload.Workload{Name: w.Name, NetNS: w.Path}, &workload.Interface{Name: w.Interface, Index: w.Index, MAC: net.HardwareAddr(w.MAC[:]).String(), Kind: "veth"}
}

func TestHostSide(t *testing.T) {
	testnet.RequireRoot(t)
	b := testnet.New(t).Bridge("a", "b")
	var f wire.Finder
	for _, tw := range b.Workloads {
		w, i := one(tw)
		got, err := f.Plan(w, i, managed(t, b.Workloads[0].NS, b.Workloads[1].NS))
		if err != nil {
			t.Fatal(err)
		}
		want := wire.Plan{Hook: backend.Hook{NetNS: b.Host.Path, Interface: tw.HostInterface, Index: tw.HostIndex}, MAC: tw.MAC, Note: "hooked on the host's end of its veth, " + tw.HostInterface}
		if got != want {
			t.Errorf("plan %+v, want %+v", got, want)
		}
	}
}

func TestHostSideOwnNamespace(t *testing.T) {
	testnet.RequireRoot(t)
	n := testnet.New(t)
	ns := n.Namespace("solo")
	file, err := netns.Open(ns.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	la := netlink.NewLinkAttrs()
	la.Name = "slwiretest0"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: la, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(file.Fd()))}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(&netlink.Veth{LinkAttrs: la}) })
	host, err := netlink.LinkByName(la.Name)
	if err != nil {
		t.Fatal(err)
	}
	i := &workload.Interface{Name: "eth0", Index: host.Attrs().ParentIndex, MAC: "02:00:00:00:00:01", Kind: "veth"}
	var f wire.Finder
	got, err := f.Plan(&workload.Workload{Name: "solo", NetNS: ns.Path}, i, managed(t, ns))
	if err != nil {
		t.Fatal(err)
	}
	if want := (backend.Hook{Interface: la.Name, Index: host.Attrs().Index}); got.Hook != want {
		t.Errorf("hook %+v, want %+v", got.Hook, want)
	}
}

func TestOwnSide(t *testing.T) {
	testnet.RequireRoot(t)
	n := testnet.New(t)
	other := n.Namespace("other")
	direct := n.Veth(other, "direct", "to-direct")
	tests := []struct {
		name, kind, mac string
		managed         wire.Managed
		tapOnly         bool
		note            string
	}{
		{"peer in a workload", "veth", "02:00:00:00:00:01", managed(t, other, direct.NS), false, "the other end of eth0 is in workload " + other.Name},
		{"macvlan", "macvlan", "02:00:00:00:00:01", managed(t, direct.NS), false, "a macvlan interface has no other end"},
		{"physical", "device", "02:00:00:00:00:01", nil, false, "a physical interface"},
		{"tun", "tuntap", "", nil, true, "no MAC address"},
		{"zero mac", "ipvlan", "00:00:00:00:00:00", nil, true, "no MAC address"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, i := one(direct)
			i.Kind, i.MAC = tt.kind, tt.mac
			var f wire.Finder
			got, err := f.Plan(w, i, tt.managed)
			if err != nil {
				t.Fatal(err)
			}
			want := backend.Hook{NetNS: w.NetNS, Interface: "eth0", Index: direct.Index, Side: backend.OwnSide}
			if got.TapOnly != tt.tapOnly || got.Hook != want || !strings.Contains(got.Note, tt.note) {
				t.Errorf("plan %+v, want hook %+v, tap only %t, note %q", got, want, tt.tapOnly, tt.note)
			}
		})
	}
	w, i := one(direct)
	i.Index = 4000
	var f wire.Finder
	if _, err := f.Plan(w, i, nil); err == nil {
		t.Error("no error for an interface that is gone")
	}
}

func TestPeerUnnamed(t *testing.T) {
	testnet.RequireRoot(t)
	n := testnet.New(t)
	hidden := n.Namespace("hidden")
	direct := n.Veth(hidden, "direct", "to-direct")
	cmd := hidden.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := netns.Delete(hidden.Name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // so that the topology's own clean-up finds the name again
		if err := netns.Create(hidden.Name); err != nil {
			t.Error(err)
		}
	})
	w, i := one(direct)
	got, err := (&wire.Finder{}).Plan(w, i, nil)
	if err != nil || got.Hook.Side != backend.OwnSide || !strings.Contains(got.Note, "not found") {
		t.Errorf("without processes: plan %+v, error %v; want its own side", got, err)
	}
	got, err = (&wire.Finder{Processes: true}).Plan(w, i, nil)
	if err != nil || got.Hook.Side != backend.HostSide || !strings.HasPrefix(got.Hook.NetNS, "/proc/") || got.Hook.Interface != "to-direct" {
		t.Errorf("with processes: plan %+v, error %v; want the host side in /proc", got, err)
	}
}
