package workload

import (
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	nsdo "github.com/sluicenet/sluice/internal/netns"
)

// isHost reports whether a namespace carries the traffic of other workloads: a bridge that joins
// veths of theirs, or forwarding between two of them. candidates are the paths of namespaces that can be
// workloads. Bridges and forwarding for anything else, as for nested containers, do not count: every
// namespace inherits forwarding from a machine that runs containers, and what is inside of a workload is
// under its own control.
func isHost(path string, ino uint64, links []netlink.Link, candidates []string) bool {
	bridges, peers := map[int]bool{}, map[int]bool{}
	for _, l := range links {
		if l.Type() == "bridge" {
			bridges[l.Attrs().Index] = true
		}
	}
	joined := map[int]bool{}
	for _, l := range links {
		if at := l.Attrs(); l.Type() == "veth" && at.NetNsID >= 0 {
			peers[at.NetNsID] = true
			if bridges[at.MasterIndex] {
				joined[at.NetNsID] = true
			}
		}
	}
	if len(joined) == 0 && len(peers) < 2 {
		return false
	}
	n := 0
	for id := range numbersOf(path, ino, candidates) {
		if joined[id] {
			return true
		}
		if peers[id] {
			n++
		}
	}
	return n > 1 && forwards(path)
}

// numbersOf returns the numbers that a namespace has for those at some paths.
func numbersOf(path string, ino uint64, candidates []string) map[int]bool {
	out := map[int]bool{}
	ns, err := openNS(path, ino)
	if err != nil {
		return out
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return out
	}
	defer h.Close()
	for _, c := range candidates {
		if c == path {
			continue
		}
		f, err := os.Open(c)
		if err != nil {
			continue
		}
		if id, err := h.GetNetNsIdByFd(int(f.Fd())); err == nil && id >= 0 {
			out[id] = true
		}
		f.Close()
	}
	return out
}

// forwards reports whether a namespace forwards IPv4 or IPv6.
func forwards(path string) bool {
	on := false
	_ = nsdo.Do(path, func() error {
		for _, f := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			b, err := os.ReadFile("/proc/sys/net/" + f)
			on = on || err == nil && strings.TrimSpace(string(b)) == "1"
		}
		return nil
	})
	return on
}
