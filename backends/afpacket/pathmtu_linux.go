package afpacket

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
)

// Headers that VXLAN puts in front of an IP packet: IP, UDP, VXLAN and Ethernet.
const (
	vxlanOver4 = 20 + 8 + 8 + 14
	vxlanOver6 = 40 + 8 + 8 + 14
)

// pathEvery is how often the path MTU of tunnels is read.
const pathEvery = 5 * time.Second

// maxRemotes is how many ends of a tunnel are examined.
const maxRemotes = 64

// pathMTU is the largest IP packet that a tunnel interface inside a workload can carry
// without fragments of the outer packet; 0 where its own MTU is the limit. Without Sluice the
// kernel lowers the path MTU of the route that sent the packet (skb_tunnel_check_pmtu); a
// packet that comes back from the service port has none, and the engine must answer for it.
type pathMTU struct{ atomic.Uint32 }

// of returns the limit for a frame; nil is none.
func (m *pathMTU) of() uint32 {
	if m == nil {
		return 0
	}
	return m.Load()
}

// tunnel returns the path MTU of a hook that is a tunnel, nil for any other.
func (a *inlineAttachment) tunnel(l netlink.Link) *pathMTU {
	v, ok := l.(*netlink.Vxlan)
	if !ok || a.ep.Hook.Side != backend.OwnSide || v.FlowBased {
		return nil
	}
	m := &pathMTU{}
	m.Store(vxlanLimit(v))
	return m
}

// refreshPaths reads the path MTU of all tunnels again, now and then. The backend's lock is
// held.
func (p *port) refreshPaths() {
	now := time.Now()
	if now.Sub(p.pathsRead) < pathEvery {
		return
	}
	p.pathsRead = now
	var tunnels []*inlineAttachment
	for _, a := range p.attached {
		if a.path != nil {
			tunnels = append(tunnels, a)
		}
	}
	if len(tunnels) == 0 {
		return
	}
	_ = p.do(func() error {
		for _, a := range tunnels {
			if l, err := netlink.LinkByIndex(a.index); err == nil {
				if v, ok := l.(*netlink.Vxlan); ok {
					a.path.Store(vxlanLimit(v))
				}
			}
		}
		return nil
	})
}

// vxlanLimit is the smallest path MTU to any known end of a tunnel, less the tunnel's
// headers; 0 where that is no less than its own MTU, or unknown.
func vxlanLimit(v *netlink.Vxlan) uint32 {
	limit := v.MTU
	if v.VtepDevIndex != 0 && len(v.Group) == 0 && len(v.SrcAddr) != 0 {
		limit = min(limit, linkMTU(v.VtepDevIndex)-headroom(v.SrcAddr.To4() == nil))
	}
	for _, to := range remotes(v) {
		mtu := 0
		if to.IsMulticast() {
			mtu = linkMTU(v.VtepDevIndex)
		} else {
			mtu = routeMTU(to)
		}
		if mtu > 0 {
			limit = min(limit, mtu-headroom(to.To4() == nil))
		}
	}
	if limit <= 0 || limit >= v.MTU {
		return 0
	}
	return uint32(limit)
}

func headroom(ipv6 bool) int {
	if ipv6 {
		return vxlanOver6
	}
	return vxlanOver4
}

// remotes lists the ends of a tunnel: the one that it was created with, and those of its
// forwarding table.
func remotes(v *netlink.Vxlan) (out []net.IP) {
	if len(v.Group) != 0 && !v.Group.IsUnspecified() {
		out = append(out, v.Group)
	}
	table, err := netlink.NeighList(v.Index, unix.AF_BRIDGE)
	if err != nil {
		return out
	}
	for i := range table {
		if len(out) == maxRemotes {
			break
		}
		if ip := table[i].IP; len(ip) != 0 && !ip.IsUnspecified() && (len(out) == 0 || !out[len(out)-1].Equal(ip)) {
			out = append(out, ip)
		}
	}
	return out
}

// routeMTU is the MTU of the route to an end, as far as the kernel knows it; 0 without route.
func routeMTU(to net.IP) int {
	routes, err := netlink.RouteGet(to)
	if err != nil || len(routes) == 0 {
		return 0
	}
	if mtu := routes[0].MTU; mtu > 0 {
		return mtu
	}
	return linkMTU(routes[0].LinkIndex)
}

// linkMTU is the MTU of an interface; the largest there is where it is unknown.
func linkMTU(index int) int {
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return portMTU
	}
	return l.Attrs().MTU
}
