// Package lab builds a small network of services in namespaces, with servers and clients of real protocols
// over real sockets, IPv4 and IPv6, for demos. It does not depend on Sluice.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/sluicenet/sluice/internal/netns"
)

// Host is one machine of the lab: a namespace with one interface on the lab's bridge.
type Host struct {
	Name   string
	NetNS  string // name of the namespace
	V4, V6 netip.Addr
	// Meshed reports whether all its TCP traffic goes through a sidecar.
	Meshed bool
}

// names are the lab's hosts; the last part of their addresses follows.
var names = []string{"web", "api", "db", "cache", "dns", "cart", "pay", "intruder"}

// meshed are those of them that have a sidecar.
var meshed = []string{"cart", "pay"}

// Lab is the namespaces, and what runs in them.
type Lab struct {
	prefix string
	hosts  map[string]*Host
	wire   string // namespace of the bridge
	stops  []func()
}

// New builds the lab's namespaces; their names begin with prefix. On error nothing is left.
func New(prefix string) (*Lab, error) {
	l := &Lab{prefix: prefix, wire: prefix + "switch", hosts: map[string]*Host{}}
	for i, n := range names {
		l.hosts[n] = &Host{
			Name: n, NetNS: prefix + n, Meshed: slices.Contains(meshed, n),
			V4: netip.AddrFrom4([4]byte{10, 77, 0, byte(11 + i)}),
			V6: netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x77, 15: byte(0x11 + i)}),
		}
	}
	if err := l.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("build the lab: %w", err), l.Close())
	}
	return l, nil
}

// Hosts are the lab's machines, in order.
func (l *Lab) Hosts() []*Host {
	out := make([]*Host, 0, len(names))
	for _, n := range names {
		out = append(out, l.hosts[n])
	}
	return out
}

// Close stops every server and removes every namespace.
func (l *Lab) Close() error {
	for i := len(l.stops) - 1; i >= 0; i-- {
		l.stops[i]()
	}
	l.stops = nil
	var errs []error
	for _, h := range l.hosts {
		errs = append(errs, remove(h.NetNS))
	}
	errs = append(errs, remove(l.wire))
	return errors.Join(errs...)
}

func remove(ns string) error {
	list, err := netns.List()
	if err != nil {
		return err
	}
	for _, n := range list {
		if n == ns {
			return netns.Delete(ns)
		}
	}
	return nil
}

// Sweep removes the labs of processes that are gone: namespaces called prefix, a process number,
// a dash and a name, as Prefix makes them.
func Sweep(prefix string) error {
	list, err := netns.List()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range list {
		rest, ok := strings.CutPrefix(n, prefix)
		pid, _, dash := strings.Cut(rest, "-")
		if _, err := strconv.Atoi(pid); !ok || !dash || err != nil {
			continue
		}
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, netns.Delete(n))
		}
	}
	return errors.Join(errs...)
}

// Prefix is the beginning of the names of this process's lab.
func Prefix(prefix string) string { return fmt.Sprintf("%s%d-", prefix, os.Getpid()) }

// Addr is "address:port" of the host in the family of network (tcp4, udp6 ...).
func (h *Host) Addr(network string, port int) string {
	a := h.V4
	if strings.HasSuffix(network, "6") {
		a = h.V6
	}
	return netip.AddrPortFrom(a, uint16(port)).String()
}

// Do runs fn inside the host.
func (h *Host) Do(fn func() error) error { return netns.Do(netns.Named(h.NetNS), fn) }

// Dial opens a connection from the host. The socket stays there.
func (h *Host) Dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	var d net.Dialer
	err = h.Do(func() error {
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Listen listens on every address of the host.
func (h *Host) Listen(port int) (ln net.Listener, err error) {
	err = h.Do(func() error {
		ln, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		return err
	})
	return ln, err
}
