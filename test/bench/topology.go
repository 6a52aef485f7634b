//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
)

// Addresses. The client has several, as one alone runs out of ports.
const (
	sources  = 8
	nsPrefix = "sluice-bench-"

	hostToServer = "to-server"
	hostToClient = "to-client"
)

// workload is a namespace whose frames a dataplane may get: where it is, its address, and the
// host's end of its veth pair.
type workload struct {
	ns, hook string
	mac      [6]byte
}

// serverAddr is where the server listens.
func serverAddr(ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.MustParseAddr("fd77::2")
	}
	return netip.MustParseAddr("10.77.0.2")
}

// sourceAddr is one of the client's addresses.
func sourceAddr(ipv6 bool, i int) netip.Addr {
	if ipv6 {
		return netip.MustParseAddr(fmt.Sprintf("fd77::1:%x", i%sources+1))
	}
	return netip.AddrFrom4([4]byte{10, 77, 1, byte(i%sources + 1)})
}

// topology is client, host and server: two veth pairs on a bridge in the host's namespace, and
// any number of other workloads on the same bridge.
type topology struct {
	client, host, server string
	others               []string
}

// workloads are the server and the others, in this order.
func (t *topology) workloads() []workload {
	list := []workload{{netns.Named(t.server), hostToServer, [6]byte{0x02, 0x77, 0, 0, 0, 2}}}
	for i, n := range t.others {
		list = append(list, workload{netns.Named(n), fmt.Sprint("to-", i+1), [6]byte{0x02, 0x77, 0, 1, 0, byte(i + 1)}})
	}
	return list
}

// build makes the namespaces and what is in them.
func build(others int) (*topology, error) {
	base := nsPrefix + strconv.Itoa(os.Getpid())
	t := &topology{client: base + "-client", host: base + "-host", server: base + "-server"}
	for i := range others {
		t.others = append(t.others, fmt.Sprintf("%s-%d", base, i+1))
	}
	if err := t.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("build namespaces: %w", err), t.remove())
	}
	return t, nil
}

func (t *topology) build() error {
	for _, n := range t.names() {
		if err := netns.Create(n); err != nil {
			return err
		}
		if err := netns.Do(netns.Named(n), quiet); err != nil {
			return err
		}
	}
	err := netns.Do(netns.Named(t.host), func() error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := netlink.LinkAdd(br); err != nil {
			return fmt.Errorf("add bridge: %w", err)
		}
		return netlink.LinkSetUp(br)
	})
	if err != nil {
		return err
	}
	var from []netip.Addr
	for i := range sources {
		from = append(from, sourceAddr(false, i), sourceAddr(true, i))
	}
	if err := t.plug(t.client, hostToClient, [6]byte{0x02, 0x77, 0, 0, 0, 1}, from); err != nil {
		return err
	}
	for i, w := range t.workloads() {
		addrs := []netip.Addr{serverAddr(false), serverAddr(true)}
		if i > 0 {
			addrs = []netip.Addr{netip.AddrFrom4([4]byte{10, 77, 2, byte(i)}), netip.MustParseAddr(fmt.Sprintf("fd77::2:%x", i))}
		}
		if err := t.plug(filepath.Base(w.ns), w.hook, w.mac, addrs); err != nil {
			return err
		}
	}
	return nil
}

// names are the names of all namespaces.
func (t *topology) names() []string { return append([]string{t.client, t.host, t.server}, t.others...) }

// remove deletes the namespaces, and with them everything inside.
func (t *topology) remove() error {
	var errs []error
	for _, n := range t.names() {
		if err := netns.Delete(n); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// removeStale deletes the namespaces of suites that were killed.
func removeStale() error {
	names, err := netns.List()
	if err != nil {
		return err
	}
	for _, n := range names {
		rest, ours := strings.CutPrefix(n, nsPrefix)
		pid, _, _ := strings.Cut(rest, "-")
		if _, err := os.Stat("/proc/" + pid); !ours || pid == "" || err == nil {
			continue
		}
		if err := netns.Delete(n); err != nil {
			return err
		}
	}
	return nil
}

// quiet keeps a namespace from talking by itself and makes many short connections
// possible.
func quiet() error {
	for key, value := range map[string]string{
		"ipv6/conf/all/accept_dad": "0", "ipv6/conf/default/accept_dad": "0",
		"ipv6/conf/all/router_solicitations": "0", "ipv6/conf/default/router_solicitations": "0",
		"ipv4/ip_local_port_range": "1024 65535", "ipv4/tcp_tw_reuse": "1", "ipv4/tcp_max_syn_backlog": "65535",
		"core/somaxconn": "65535",
	} {
		if err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0); err != nil {
			return fmt.Errorf("set %s: %w", key, err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	return netlink.LinkSetUp(lo)
}

// plug puts one end of a veth pair on the bridge and the other into ns, with addresses.
func (t *topology) plug(ns, hostEnd string, mac [6]byte, addrs []netip.Addr) error {
	inside, err := netns.Open(netns.Named(ns))
	if err != nil {
		return err
	}
	defer inside.Close()
	err = netns.Do(netns.Named(t.host), func() error {
		br, err := netlink.LinkByName("br0")
		if err != nil {
			return fmt.Errorf("find bridge: %w", err)
		}
		v := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: hostEnd, MasterIndex: br.Attrs().Index},
			PeerName:  "eth0", PeerNamespace: netlink.NsFd(int(inside.Fd())), PeerHardwareAddr: mac[:],
		}
		if err := netlink.LinkAdd(v); err != nil {
			return fmt.Errorf("add veth pair: %w", err)
		}
		return netlink.LinkSetUp(v)
	})
	if err != nil {
		return err
	}
	return netns.Do(netns.Named(ns), func() error {
		eth, err := netlink.LinkByName("eth0")
		if err != nil {
			return fmt.Errorf("find eth0: %w", err)
		}
		for _, a := range addrs {
			bits := 16
			if a.Is6() {
				bits = 64
			}
			addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}, Flags: unix.IFA_F_NODAD}
			if err := netlink.AddrAdd(eth, addr); err != nil {
				return fmt.Errorf("add address %s: %w", a, err)
			}
		}
		return netlink.LinkSetUp(eth)
	})
}
