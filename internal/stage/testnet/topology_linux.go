package testnet

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
)

// Workload is a namespace with one interface, the way container runtimes make
// them: a veth whose other end is in the host's namespace.
type Workload struct {
	*NS
	// Interface is the name inside, Index its number there.
	Interface string
	Index     int
	MAC       [6]byte
	// IPv4 and IPv6 are the static addresses of the interface.
	IPv4, IPv6 netip.Addr
	// Host is the namespace of the other end, HostInterface and HostIndex its name and number.
	Host          *NS
	HostInterface string
	HostIndex     int
}

// Addr is the IPv4 or the IPv6 address ("tcp6", "udp6", "ip6" and the like) with a port.
func (w *Workload) Addr(network string, port int) string {
	ip := w.IPv4
	if network[len(network)-1] == '6' {
		ip = w.IPv6
	}
	return netip.AddrPortFrom(ip, uint16(port)).String()
}

// Bridge is a host namespace with a bridge that joins workloads.
type Bridge struct {
	Host *NS
	// Name is the bridge's interface name.
	Name string
	// IPv4 and IPv6 are the bridge's own addresses.
	IPv4, IPv6 netip.Addr
	Workloads  []*Workload
}

// Bridge makes a host namespace "host" with a bridge, and for each name a workload
// namespace on a port of it: 10.77.0.0/24 and fd77::/64, the bridge being
// number 254 and the workloads 1 and on.
func (n *Net) Bridge(names ...string) *Bridge {
	n.t.Helper()
	host := n.Namespace("host")
	b := &Bridge{Host: host, Name: "br0", IPv4: netip.MustParseAddr("10.77.0.254"), IPv6: netip.MustParseAddr("fd77::fe")}
	var index int
	host.Do(func() error {
		snoop := false
		la := netlink.NewLinkAttrs()
		la.Name = b.Name
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: la, MulticastSnooping: &snoop}); err != nil {
			return fmt.Errorf("add bridge: %w", err)
		}
		br, err := netlink.LinkByName(b.Name)
		if err != nil {
			return fmt.Errorf("find bridge: %w", err)
		}
		index = br.Attrs().Index
		if err := netlink.LinkSetUp(br); err != nil {
			return fmt.Errorf("bridge up: %w", err)
		}
		return addrs(br, netip.PrefixFrom(b.IPv4, 24), netip.PrefixFrom(b.IPv6, 64))
	})
	for i, name := range names {
		w := n.Veth(host, name, fmt.Sprintf("veth%d", i+1))
		v4 := netip.AddrFrom4([4]byte{10, 77, 0, byte(i + 1)})
		v6 := netip.AddrFrom16([16]byte{0xfd, 0x77, 15: byte(i + 1)})
		w.address(netip.PrefixFrom(v4, 24), netip.PrefixFrom(v6, 64))
		host.Do(func() error {
			port, err := netlink.LinkByIndex(w.HostIndex)
			if err != nil {
				return err
			}
			return netlink.LinkSetMasterByIndex(port, index)
		})
		b.Workloads = append(b.Workloads, w)
	}
	return b
}

// Pair is two workloads with a routed host between them, without a bridge.
type Pair struct {
	Client, Server *Workload
	Host           *NS
}

// Pair makes client (10.78.1.1, fd78:1::1) and server (10.78.2.1, fd78:2::1), each
// on a veth of its own to a host namespace that forwards between them (.254, ::fe).
func (n *Net) Pair() *Pair {
	n.t.Helper()
	host := n.Namespace("host")
	host.Sysctl("net/ipv4/ip_forward", "1")
	host.Sysctl("net/ipv6/conf/all/forwarding", "1")
	side := func(name, dev string, net byte) *Workload {
		w := n.Veth(host, name, dev)
		v4 := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 78, net, last}) }
		v6 := func(last byte) netip.Addr { return netip.AddrFrom16([16]byte{0xfd, 0x78, 3: net, 15: last}) }
		host.Do(func() error {
			port, err := netlink.LinkByIndex(w.HostIndex)
			if err != nil {
				return err
			}
			return addrs(port, netip.PrefixFrom(v4(254), 24), netip.PrefixFrom(v6(0xfe), 64))
		})
		w.address(netip.PrefixFrom(v4(1), 24), netip.PrefixFrom(v6(1), 64))
		w.gateway(v4(254), v6(0xfe))
		return w
	}
	return &Pair{Client: side("client", "vc", 1), Server: side("server", "vs", 2), Host: host}
}

// Veth makes a namespace with an interface eth0, up and without addresses,
// whose other end is hostDev in host.
func (n *Net) Veth(host *NS, name, hostDev string) *Workload {
	n.t.Helper()
	w := &Workload{NS: n.Namespace(name), Interface: "eth0", Host: host, HostInterface: hostDev}
	peer, err := netns.Open(w.Path)
	if err != nil {
		n.t.Fatal(err)
	}
	defer peer.Close()
	host.Do(func() error {
		la := netlink.NewLinkAttrs()
		la.Name = hostDev
		veth := &netlink.Veth{LinkAttrs: la, PeerName: w.Interface, PeerNamespace: netlink.NsFd(int(peer.Fd()))}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add veth %s: %w", hostDev, err)
		}
		link, err := netlink.LinkByName(hostDev)
		if err != nil {
			return fmt.Errorf("find %s: %w", hostDev, err)
		}
		w.HostIndex = link.Attrs().Index
		return netlink.LinkSetUp(link)
	})
	w.Do(func() error {
		link, err := netlink.LinkByName(w.Interface)
		if err != nil {
			return fmt.Errorf("find %s: %w", w.Interface, err)
		}
		w.Index = link.Attrs().Index
		copy(w.MAC[:], link.Attrs().HardwareAddr)
		return netlink.LinkSetUp(link)
	})
	return w
}

// address gives the workload its addresses.
func (w *Workload) address(v4, v6 netip.Prefix) {
	w.t.Helper()
	w.IPv4, w.IPv6 = v4.Addr(), v6.Addr()
	w.Do(func() error {
		link, err := netlink.LinkByIndex(w.Index)
		if err != nil {
			return err
		}
		return addrs(link, v4, v6)
	})
}

// gateway sets the default routes of both families.
func (w *Workload) gateway(via ...netip.Addr) {
	w.t.Helper()
	w.Do(func() error {
		for _, gw := range via {
			bits := gw.BitLen()
			r := &netlink.Route{LinkIndex: w.Index, Gw: gw.AsSlice(), Dst: &net.IPNet{IP: make(net.IP, bits/8), Mask: net.CIDRMask(0, bits)}}
			if err := netlink.RouteAdd(r); err != nil {
				return fmt.Errorf("default route via %s: %w", gw, err)
			}
		}
		return nil
	})
}

// addrs adds static addresses that are usable at once.
func addrs(link netlink.Link, prefixes ...netip.Prefix) error {
	for _, p := range prefixes {
		a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(link, a); err != nil {
			return fmt.Errorf("add address %s: %w", p, err)
		}
	}
	return nil
}
