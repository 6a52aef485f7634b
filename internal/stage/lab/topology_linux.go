package lab

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"

	"github.com/sluicenet/sluice/internal/netns"
)

// build makes a bridge in a namespace of its own, and every host on it.
func (l *Lab) build() error {
	if err := netns.Create(l.wire); err != nil {
		return err
	}
	for _, h := range l.hosts {
		if err := netns.Create(h.NetNS); err != nil {
			return err
		}
	}
	err := netns.Do(netns.Named(l.wire), func() error {
		if err := quiet(); err != nil {
			return err
		}
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := netlink.LinkAdd(br); err != nil {
			return fmt.Errorf("add bridge: %w", err)
		}
		return netlink.LinkSetUp(br)
	})
	if err != nil {
		return err
	}
	for _, h := range l.hosts {
		if err := l.plug(h); err != nil {
			return fmt.Errorf("plug in %s: %w", h.Name, err)
		}
	}
	return nil
}

// quiet keeps the kernel from talking by itself: no router solicitation, no
// duplicate address detection.
func quiet() error {
	for _, dir := range []string{"all", "default"} {
		for key, value := range map[string]string{"accept_dad": "0", "router_solicitations": "0"} {
			p := filepath.Join("/proc/sys/net/ipv6/conf", dir, key)
			if err := os.WriteFile(p, []byte(value), 0o644); err != nil {
				return fmt.Errorf("set %s: %w", p, err)
			}
		}
	}
	return nil
}

// plug gives a host its interface.
func (l *Lab) plug(h *Host) error {
	inside, err := netns.Open(netns.Named(h.NetNS))
	if err != nil {
		return err
	}
	defer inside.Close()
	if err := h.Do(quiet); err != nil {
		return err
	}
	err = netns.Do(netns.Named(l.wire), func() error {
		br, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		v := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "to-" + h.Name, MasterIndex: br.Attrs().Index},
			PeerName:  "eth0", PeerNamespace: netlink.NsFd(int(inside.Fd())),
		}
		if err := netlink.LinkAdd(v); err != nil {
			return fmt.Errorf("add veth: %w", err)
		}
		return netlink.LinkSetUp(v)
	})
	if err != nil {
		return err
	}
	return h.Do(func() error { return address(h) })
}

func address(h *Host) error {
	for _, name := range []string{"lo", "eth0"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if name == "eth0" {
			for ip, bits := range map[string]int{h.V4.String(): 24, h.V6.String(): 64} {
				parsed := net.ParseIP(ip)
				size := 32
				if parsed.To4() == nil {
					size = 128
				}
				a := &netlink.Addr{IPNet: &net.IPNet{IP: parsed, Mask: net.CIDRMask(bits, size)}, Flags: 0x02} // IFA_F_NODAD
				if err := netlink.AddrAdd(link, a); err != nil {
					return fmt.Errorf("add %s: %w", ip, err)
				}
			}
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
	}
	return nil
}
