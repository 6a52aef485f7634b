package nfqueue

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
)

// probeTime bounds an attempt that waits for the kernel.
const probeTime = 3 * time.Second

// Probe tries what queues need, on an interface of the calling thread's namespace. It
// detaches what it attached.
func Probe(iface string) []backend.Feature {
	return []backend.Feature{
		{Name: "netfilter queues", Err: probeQueue(iface), Detail: "rules are placed and packets queued",
			Cost:   "--backend NETNS=nfqueue does not work, nor does inspection between an application and its sidecar; interfaces without a MAC address are only watched",
			Remedy: "load the modules: modprobe nfnetlink_queue nf_tables nft_queue (or xt_NFQUEUE and nft_compat)"},
		{Name: "connection tracking", Err: probeTracking(), Detail: "entries are readable",
			Cost:   "connections through a sidecar are judged by the sidecar's address instead of their real destination",
			Remedy: "load the modules: modprobe nf_conntrack nf_conntrack_netlink"},
	}
}

// probeQueue attaches an interface by queue and detaches it again.
func probeQueue(iface string) error {
	l, err := netlink.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("find %s: %w", iface, err)
	}
	path := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	at, err := New(Config{}).Attach(ctx, backend.Endpoint{ID: 1, Kind: backend.Inline, NetNS: path, Interface: iface, Index: l.Attrs().Index,
		Hook: backend.Hook{NetNS: path, Interface: iface, Index: l.Attrs().Index, Side: backend.StackSide}})
	if err != nil {
		return err
	}
	defer at.Close()
	return at.Activate()
}

func probeTracking() error {
	_, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	return err
}
