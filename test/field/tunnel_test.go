package field

import (
	"fmt"
	"io"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
)

// tunnel is tunnel NODE: a point-to-point interface to the machine outside, as VPNs have, whose two ends this process
// copies packets between. Its addresses are NODE/tun, and out/tNODE, which only the two of them reach.
func (r *runner) tunnel(n *node, _ step) error {
	if _, ok := n.places["tun"]; ok {
		return nil
	}
	near, o := numbered(80, n.number), r.w.nodes[outside]
	far := pair{netip.AddrFrom4([4]byte{198, 51, 100, byte(n.number)}), netip.MustParseAddr(fmt.Sprintf("2001:db8:51::%x", n.number))}
	there := fmt.Sprintf("tun%s%d", n.name, r.at)
	a, err := tun(n.ns, "tun0")
	if err != nil {
		return err
	}
	b, err := tun(o.ns, there)
	if err != nil {
		a.Close()
		return err
	}
	n.servers = append(n.servers, a, b)
	go copyPackets(a, b)
	go copyPackets(b, a)
	n.places["tun"], o.places["t"+n.name] = near, far
	up := func(name, dev string, own, peer pair) error {
		return r.w.ip(name, "link set "+dev+" up", fmt.Sprintf("address add %s/32 dev %s", own[0], dev), fmt.Sprintf("route replace %s dev %s", peer[0], dev),
			fmt.Sprintf("address add %s/128 dev %s nodad", own[1], dev), fmt.Sprintf("-6 route replace %s dev %s", peer[1], dev))
	}
	if err := up(n.name, "tun0", near, far); err != nil {
		return err
	}
	return up(outside, there, far, near)
}

// private reports whether a place of a node is reached from one node only, and which.
func private(end, place string) (peer string, only bool) {
	switch {
	case place == "tun":
		return outside, true
	case end == outside && place != "":
		return place[1:], true
	}
	return "", false
}

// tun makes a point-to-point interface without packet information.
func tun(ns, name string) (f *os.File, err error) {
	err = netns.Do(netns.Named(ns), func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		req, err := unix.NewIfreq(name)
		if err != nil {
			unix.Close(fd)
			return err
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			unix.Close(fd)
			return err
		}
		f = os.NewFile(uintptr(fd), name)
		return nil
	})
	return f, err
}

// copyPackets copies until one end is closed. What an interface that is down does not take is lost.
func copyPackets(to io.Writer, from io.Reader) {
	b := make([]byte, 65536)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		_, _ = to.Write(b[:n])
	}
}
