package main

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/agent/hostmode"
	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
)

// queueChecks try queues and connection tracking in the thread's own namespace, on an interface of it.
func queueChecks(iface string) []check {
	return []check{
		tried("netfilter queues", tryQueue(iface), false, "rules can be placed, packets be queued",
			"--backend NETNS=nfqueue does not work, nor what is told between an application and its sidecar; interfaces without a MAC address are only watched",
			"load the modules: modprobe nfnetlink_queue nf_tables nft_queue (or xt_NFQUEUE and nft_compat)"),
		tried("connection tracking", tryTracking(), false, "entries can be read",
			"connections through a sidecar are judged by the sidecar's address instead of their real destination", "load the modules: modprobe nf_conntrack nf_conntrack_netlink"),
	}
}

// tryQueue attaches an interface by queue and detaches it again.
func tryQueue(iface string) error {
	l, err := netlink.LinkByName(iface)
	if err != nil {
		return err
	}
	path := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	at, err := nfqueue.New(nfqueue.Config{}).Attach(ctx, backend.Endpoint{ID: 1, Kind: backend.Inline, NetNS: path, Interface: iface, Index: l.Attrs().Index,
		Hook: backend.Hook{NetNS: path, Interface: iface, Index: l.Attrs().Index, Side: backend.StackSide}})
	if err != nil {
		return err
	}
	defer at.Close()
	return at.Activate()
}

func tryTracking() error {
	_, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	return err
}

// checkTime bounds what asks somebody else.
const checkTime = 3 * time.Second

// hostChecks try what the machine's own processes and containers are found by.
func hostChecks() []check {
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	docker, err := workload.PingDocker(ctx, dockerEndpoint(dockerAuto))
	return []check{
		tried("socket tracepoint", hostmode.Probe(), false, "inet_sock_set_state through BTF",
			"of workloads in the host's network, connections that last less than 3 s may be missed (hostmode.missed counts those of TCP)",
			"use a kernel with CONFIG_DEBUG_INFO_BTF and CONFIG_BPF_EVENTS, 5.8 or newer"),
		tried("Docker", err, false, docker, "there are no containers for --docker auto; nothing else changes",
			"start the daemon, or give its socket with --docker or DOCKER_HOST"),
	}
}
