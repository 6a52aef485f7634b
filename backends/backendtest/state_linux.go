package backendtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sort"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// snapshot describes everything that a backend could change: links, addresses, routes,
// qdiscs, filters and programs of the workloads and their host.
func snapshot(t *testing.T, ws ...*testnet.Workload) []string {
	t.Helper()
	var out []string
	add := func(ns *testnet.NS) {
		ns.Do(func() error {
			lines, err := describe()
			for _, l := range lines {
				out = append(out, ns.Name+": "+l)
			}
			return err
		})
	}
	add(ws[0].Host)
	for _, w := range ws {
		add(w.NS)
	}
	sort.Strings(out)
	return out
}

// describe describes the calling thread's namespace.
func describe() ([]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, l := range links {
		at := l.Attrs()
		out = append(out, fmt.Sprintf("%d %s %s %s mtu %d flags %s promisc %d master %d", at.Index, at.Name, l.Type(), at.HardwareAddr, at.MTU, at.Flags, at.Promisc, at.MasterIndex))
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			out = append(out, fmt.Sprintf("%s address %s", at.Name, a.IPNet))
		}
		lines, err := programs(l)
		if err != nil {
			return nil, err
		}
		out = append(out, lines...)
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	for _, r := range routes {
		out = append(out, "route "+r.String())
	}
	if err != nil {
		return nil, err
	}
	lines, err := tables()
	return append(out, lines...), err
}

// tables lists netfilter's tables and the queues that are bound.
func tables() ([]string, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	list, err := c.ListTables()
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	var out []string
	for _, t := range list {
		out = append(out, fmt.Sprintf("table %d %s", t.Family, t.Name))
	}
	queues, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
	if errors.Is(err, os.ErrNotExist) {
		return out, nil
	}
	for line := range strings.Lines(string(queues)) {
		out = append(out, "queue "+strings.Fields(line)[0])
	}
	return out, err
}

// programs lists qdiscs, filters and tcx programs of a link.
func programs(l netlink.Link) ([]string, error) {
	name := l.Attrs().Name
	qdiscs, err := netlink.QdiscList(l)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, q := range qdiscs {
		out = append(out, name+" qdisc "+q.Type())
	}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		filters, err := netlink.FilterList(l, parent)
		if err != nil {
			continue // no clsact
		}
		for _, f := range filters {
			out = append(out, name+" filter "+f.Type())
		}
	}
	for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
		res, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: at})
		if errors.Is(err, ebpf.ErrNotSupported) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("list programs of %s: %w", name, err)
		}
		for range res.Programs {
			out = append(out, name+" program at "+at.String())
		}
	}
	return out, nil
}

// compare reports the differences.
func compare(t *testing.T, before, after []string) {
	t.Helper()
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("state changed (-before +after):\n%s", d)
	}
}

// hostMAC returns source and destination as on the wire of the one workload among src and dst
// that is the client of a routed pair.
func hostMAC(src, dst *testnet.Workload) [2][6]byte {
	near := func(w *testnet.Workload) (mac [6]byte) {
		w.Host.Do(func() error {
			i, err := net.InterfaceByIndex(w.HostIndex)
			if err == nil {
				copy(mac[:], i.HardwareAddr)
			}
			return err
		})
		return mac
	}
	if strings.HasSuffix(src.Name, "-client") {
		return [2][6]byte{src.MAC, near(src)}
	}
	return [2][6]byte{near(dst), dst.MAC}
}
