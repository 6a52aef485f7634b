package clusterdemo

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/vishvananda/netlink"

	"github.com/sluicenet/sluice/internal/netns"
)

// One network for everything: 10.79.0.0/16 and fd79::/64. Servers and nodes are 10.79.0.x, workloads
// 10.79.<node>.x.
const (
	bits4 = 16
	bits6 = 64
)

func v4(c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 79, c, d}) }
func v6(c, d byte) netip.Addr { return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x79, 13: c, 15: d}) }

// machine is a namespace with a bridge: the place of the servers, or a node.
type machine struct {
	name string // of the namespace
	n    byte   // 0 is the place of the servers
	away absences
}

func (m *machine) path() string { return netns.Named(m.name) }

// host is a workload: a namespace with one interface on its node's bridge.
type host struct {
	name  string
	netns string
	node  *machine
	v4    netip.Addr
	v6    netip.Addr
	ports atomic.Uint32 // counts the local ports of its datagrams
}

func (h *host) addr(family string, port uint16) string {
	if family == "ipv6" {
		return netip.AddrPortFrom(h.v6, port).String()
	}
	return netip.AddrPortFrom(h.v4, port).String()
}

// dial connects from the host; the socket stays there.
func (h *host) dial(d net.Dialer, network, address string) (c net.Conn, err error) {
	d.FallbackDelay = -1 // a second goroutine would be outside of the namespace
	err = netns.Do(netns.Named(h.netns), func() error {
		c, err = d.Dial(network, address)
		return err
	})
	return c, err
}

func (h *host) listen(port uint16) (l net.Listener, err error) {
	err = netns.Do(netns.Named(h.netns), func() error {
		l, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		return err
	})
	return l, err
}

func (h *host) packets(port uint16) (p net.PacketConn, err error) {
	err = netns.Do(netns.Named(h.netns), func() error {
		p, err = net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		return err
	})
	return p, err
}

// buildMachine makes a namespace with a bridge and its addresses.
func buildMachine(m *machine, addrs ...netip.Addr) error {
	if err := netns.Create(m.name); err != nil {
		return err
	}
	return netns.Do(m.path(), func() error {
		if err := quiet(); err != nil {
			return err
		}
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := netlink.LinkAdd(br); err != nil {
			return fmt.Errorf("add bridge: %w", err)
		}
		return up([]string{"lo", "br0"}, addrs...)
	})
}

// join puts a cable between two machines' bridges.
func join(a, b *machine) error {
	return cable(a, b.path(), fmt.Sprintf("to-n%d", b.n), "uplink", func() error {
		br, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		port, err := netlink.LinkByName("uplink")
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetMaster(port, br), netlink.LinkSetUp(port))
	})
}

// buildHost makes a workload on its node's bridge.
func buildHost(h *host) error {
	if err := netns.Create(h.netns); err != nil {
		return err
	}
	path := netns.Named(h.netns)
	if err := netns.Do(path, quiet); err != nil {
		return err
	}
	return cable(h.node, path, "v-"+h.name, "eth0", func() error { return up([]string{"lo", "eth0"}, h.v4, h.v6) })
}

// cable makes a veth from a machine's bridge into another namespace, where inside then runs.
func cable(m *machine, to, near, far string, inside func() error) error {
	ns, err := netns.Open(to)
	if err != nil {
		return err
	}
	defer ns.Close()
	err = netns.Do(m.path(), func() error {
		br, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: near, MasterIndex: br.Attrs().Index}, PeerName: far, PeerNamespace: netlink.NsFd(int(ns.Fd()))}
		if err := netlink.LinkAdd(v); err != nil {
			return fmt.Errorf("add veth %s: %w", near, err)
		}
		return netlink.LinkSetUp(v)
	})
	if err != nil {
		return err
	}
	return netns.Do(to, inside)
}

// up brings links up; the last gets the addresses.
func up(links []string, addrs ...netip.Addr) error {
	for i, name := range links {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if i == len(links)-1 {
			for _, a := range addrs {
				size := bits4
				if a.Is6() {
					size = bits6
				}
				n := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(size, a.BitLen())}
				if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: n, Flags: 0x02}); err != nil { // IFA_F_NODAD
					return fmt.Errorf("add %s: %w", a, err)
				}
			}
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
	}
	return nil
}

// quiet keeps the kernel from talking by itself.
func quiet() error {
	for _, dir := range []string{"all", "default"} {
		for _, key := range []string{"accept_dad", "router_solicitations"} {
			p := filepath.Join("/proc/sys/net/ipv6/conf", dir, key)
			if err := os.WriteFile(p, []byte("0"), 0o644); err != nil {
				return fmt.Errorf("set %s: %w", p, err)
			}
		}
	}
	return nil
}
