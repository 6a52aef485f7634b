package afpacket

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The service port: the steering programs redirect to the near end, the packet socket is on
// the engine's end.
const (
	portName   = "sluice-svc"
	enginePort = "sluice-svcp"
	// portAlias distinguishes the backend's interfaces from others of the same name.
	portAlias = "sluice service port"
	portMTU   = 65535
)

// addPort creates the service port in the calling thread's namespace, down, after removing
// one that a killed process left. index is the number of the near end; 0 is any. It returns
// the numbers of both ends.
func addPort(index int) (ours, engines int, err error) {
	if err := portFree(); err != nil {
		return 0, 0, err
	}
	if err := removePort(); err != nil {
		return 0, 0, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.Index = portName, portMTU, index
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: enginePort}); err != nil {
		return 0, 0, fmt.Errorf("add service port: %w", err)
	}
	if ours, err = quietEnd(portName); err == nil {
		engines, err = quietEnd(enginePort)
	}
	if err == nil {
		_, err = limitOffloads()
	}
	if err != nil {
		if l, lerr := netlink.LinkByName(portName); lerr == nil {
			_ = netlink.LinkDel(l)
		}
		return 0, 0, err
	}
	return ours, engines, nil
}

// quietEnd keeps the network stack from using one end.
func quietEnd(name string) (int, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", name, err)
	}
	if err := netlink.LinkSetAlias(l, portAlias); err != nil {
		return 0, fmt.Errorf("mark %s: %w", name, err)
	}
	if err := netlink.LinkSetMTU(l, portMTU); err != nil {
		return 0, fmt.Errorf("set mtu of %s: %w", name, err)
	}
	acceptBig(l)
	if err := netlink.LinkSetARPOff(l); err != nil {
		return 0, fmt.Errorf("switch off arp on %s: %w", name, err)
	}
	// Without IPv6 in the kernel there is nothing to switch off. Where /proc/sys is read-only
	// the missing link-local address is enough.
	const none = 1 // IN6_ADDR_GEN_MODE_NONE
	_ = netlink.LinkSetIP6AddrGenMode(l, none)
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
	return l.Attrs().Index, nil
}

// limitOffloads leaves to the near end only the offloads that a virtio_net_hdr can express:
// for the others the kernel segments frames or fills in checksums before they arrive. It
// reports whether that was a change.
func limitOffloads() (changed bool, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("open control socket: %w", err)
	}
	defer unix.Close(fd)
	udp := kernelAtLeast(6, 2)     // virtio_net_hdr_from_skb knows UDP_L4 since then
	tunnel := kernelAtLeast(5, 13) // bpf_skb_adjust_room knows inner Ethernet headers since then
	return featuresOff(fd, portName, func(f string) bool {
		switch f {
		case "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation", "tx-tcp-accecn-segmentation":
			return false
		case "tx-udp-segmentation":
			return !udp
		case "tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation":
			return !tunnel // the program wrap restores what the metadata cannot express
		case "tx-checksum-sctp", "tx-gso-list", "tx-gso-partial":
			return true
		}
		return strings.HasPrefix(f, "tx-") && strings.HasSuffix(f, "-segmentation")
	})
}

// kernelAtLeast compares the running kernel's version.
func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var a, b int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// portFree rejects a service port that another process still reads from: its frames would be
// lost. The packet socket is the evidence, because it ends with its process.
func portFree() error {
	l, err := netlink.LinkByName(enginePort)
	if err != nil {
		return nil // there is none
	}
	sockets, err := os.ReadFile("/proc/thread-self/net/packet")
	if err != nil {
		return fmt.Errorf("list packet sockets: %w", err)
	}
	for line := range strings.Lines(string(sockets)) {
		// sk RefCnt Type Proto Iface R Rmem User Inode
		if f := strings.Fields(line); len(f) > 4 && f[4] == strconv.Itoa(l.Attrs().Index) {
			return fmt.Errorf("%s: %w", enginePort, ErrPortInUse)
		}
	}
	return nil
}

// removePort removes the service port, if there is one, from the calling thread's namespace.
// Other interfaces of that name are an error.
func removePort() error {
	for _, name := range []string{portName, enginePort} {
		l, err := netlink.LinkByName(name)
		var none netlink.LinkNotFoundError
		if errors.As(err, &none) {
			continue
		}
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		// A process that was killed in between left one without alias; no other program creates a
		// veth pair of these two names.
		if alias := l.Attrs().Alias; l.Type() != "veth" || alias != portAlias && alias != "" {
			return fmt.Errorf("remove %s: the interface is not ours", name)
		}
		if err := netlink.LinkDel(l); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}
