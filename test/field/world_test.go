package field

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sluicenet/sluice/internal/netns"
)

// world is the network of one run: a host with two bridges, workloads on the first, and a machine outside that the
// host routes to. The names of its namespaces begin like those of testnet, which removes leftovers of dead processes.
//
//	out 192.0.2.2 --- 192.0.2.1 host 10.77.0.254 br0 --- eth0 of a .1, b .2, c .3
//	    2001:db8::2      2001:db8::1    fd77::fe
//	                                   10.78.0.254 br1 --- eth1 of whoever has a second interface
type world struct {
	prefix string
	nodes  map[string]*node
	seen   *ledger
	trace  *strings.Builder // commands that were run
	mu     sync.Mutex       // guards trace
}

// node is a workload, or the machine outside.
type node struct {
	name, ns string
	service  string
	number   int
	places   map[string]pair // by name: "" is the first address of eth0
	servers  []io.Closer
	up       bool // eth0
}

// pair is an address of each family.
type pair [2]netip.Addr

func (p pair) of(network string) netip.Addr {
	if strings.HasSuffix(network, "6") {
		return p[1]
	}
	return p[0]
}

// outside is the node that is no workload.
const outside = "out"

// names are the workloads, by their numbers from 1 at the beginning.
var names = []string{"a", "b", "c"}

var worlds atomic.Uint32

func newWorld() (*world, error) {
	w := &world{prefix: fmt.Sprintf("sltest-%d-w%d-", os.Getpid(), worlds.Add(1)), nodes: map[string]*node{}, seen: &ledger{got: map[string]int{}}, trace: &strings.Builder{}}
	for _, n := range []string{"host", outside} {
		if err := w.namespace(n); err != nil {
			return w, err
		}
	}
	o := w.prefix + outside
	err := w.ip("host", "link add br0 type bridge", "link set br0 up", "address add 10.77.0.254/24 dev br0", "address add fd77::fe/64 dev br0 nodad",
		"link add br1 type bridge", "link set br1 up", "address add 10.78.0.254/24 dev br1", "address add fd78::fe/64 dev br1 nodad",
		"link add out0 type veth peer name eth0 netns "+o, "link set out0 up", "address add 192.0.2.1/24 dev out0", "address add 2001:db8::1/64 dev out0 nodad")
	if err == nil {
		err = w.ip(outside, "link set eth0 up", "address add 192.0.2.2/24 dev eth0", "address add 2001:db8::2/64 dev eth0 nodad",
			"route add default via 192.0.2.1", "-6 route add default via 2001:db8::1")
	}
	if err == nil {
		err = w.sysctl("host", "net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1", "net/ipv4/conf/all/send_redirects=0", "net/ipv4/conf/br0/send_redirects=0", "net/ipv4/conf/br1/send_redirects=0")
	}
	if err != nil {
		return w, err
	}
	n := &node{name: outside, ns: o, up: true, places: map[string]pair{"": {netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")}}}
	w.nodes[outside] = n
	if err := w.serve(n); err != nil {
		return w, err
	}
	for i, name := range names {
		if err := w.workload(name, name, i+1); err != nil {
			return w, err
		}
	}
	return w, nil
}

// namespace makes a namespace in which addresses are usable at once and asymmetric routes work.
func (w *world) namespace(name string) error {
	if err := netns.Create(w.prefix + name); err != nil {
		return err
	}
	settings := []string{"net/ipv6/conf/all/accept_dad=0", "net/ipv6/conf/default/accept_dad=0", "net/ipv4/conf/all/rp_filter=0", "net/ipv4/conf/default/rp_filter=0",
		"net/ipv6/conf/all/keep_addr_on_down=1", "net/ipv6/conf/default/keep_addr_on_down=1"}
	if err := w.sysctl(name, settings...); err != nil {
		return err
	}
	return w.ip(name, "link set lo up")
}

// numbered returns the addresses of a number in one of the host's networks, 77 or 78, or on lo, 79.
func numbered(network, number int) pair {
	return pair{netip.AddrFrom4([4]byte{10, byte(network), 0, byte(number)}), netip.MustParseAddr(fmt.Sprintf("fd%d::%x", network, number))}
}

// workload makes a workload with its servers.
func (w *world) workload(name, service string, number int) error {
	if err := w.namespace(name); err != nil {
		return err
	}
	n := &node{name: name, ns: w.prefix + name, service: service, number: number, up: true, places: map[string]pair{"": numbered(77, number)}}
	if err := w.ip("host", fmt.Sprintf("link add v%s type veth peer name eth0 netns %s", name, n.ns), fmt.Sprintf("link set v%s master br0 up", name)); err != nil {
		return err
	}
	p := n.places[""]
	err := w.ip(name, "link set eth0 up", fmt.Sprintf("address add %s/24 dev eth0", p[0]), fmt.Sprintf("address add %s/64 dev eth0 nodad", p[1]))
	if err == nil {
		err = w.routes(name)
	}
	if err == nil {
		err = w.serve(n)
	}
	w.nodes[name] = n
	return err
}

// routes sets the default routes, which are lost when eth0 goes down.
func (w *world) routes(name string) error {
	return w.ip(name, "route replace default via 10.77.0.254 dev eth0", "-6 route replace default via fd77::fe dev eth0")
}

// remove ends a workload: its sockets, its interfaces and its namespace.
func (w *world) remove(name string) error {
	n := w.nodes[name]
	if n == nil {
		return nil
	}
	for _, s := range n.servers {
		s.Close()
	}
	delete(w.nodes, name)
	delete(w.nodes[outside].places, "t"+name)
	err := w.ip("host", "link delete v"+name)
	if _, ok := n.places["2"]; ok && err == nil {
		err = w.ip("host", "link delete u"+name)
	}
	if derr := netns.Delete(n.ns); err == nil {
		err = derr
	}
	return err
}

// close removes everything.
func (w *world) close() error {
	for _, n := range w.nodes {
		for _, s := range n.servers {
			s.Close()
		}
	}
	left, err := netns.List()
	for _, name := range left {
		if strings.HasPrefix(name, w.prefix) {
			if derr := netns.Delete(name); err == nil {
				err = derr
			}
		}
	}
	return err
}

// ip runs commands of iproute2 in a namespace of this world.
func (w *world) ip(name string, commands ...string) error {
	w.mu.Lock()
	for _, c := range commands {
		fmt.Fprintf(w.trace, "ip -n %s %s\n", name, c)
	}
	w.mu.Unlock()
	for _, c := range commands {
		if err := run("ip", append([]string{"-n", w.prefix + name}, strings.Fields(c)...)...); err != nil {
			return fmt.Errorf("in %s: %w", name, err)
		}
	}
	return nil
}

// sysctl sets PATH=VALUE in a namespace.
func (w *world) sysctl(name string, settings ...string) error {
	return netns.Do(netns.Named(w.prefix+name), func() error {
		for _, s := range settings {
			key, value, _ := strings.Cut(s, "=")
			if err := os.WriteFile("/proc/sys/"+key, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// run runs a program that must work.
func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
