//go:build linux

package nfqueue_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// The ports of the tests of whole namespaces.
const allowed, forbidden = 8080, 9090

// ip runs lines of ip(8) in a namespace.
func ip(t *testing.T, ns *testnet.NS, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if out, err := ns.Command("ip", strings.Fields(l)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", l, err, out)
		}
	}
}

// serve answers on both ports, by TCP and UDP.
func serve(ns *testnet.NS) {
	for _, port := range []string{"8080", "9090"} {
		l := ns.Listen("tcp", ":"+port)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		p := ns.ListenPacket("udp", ":"+port)
		go func() {
			buf := make([]byte, 64)
			for {
				n, from, err := p.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = p.WriteTo(buf[:n], from)
			}
		}()
	}
}

// reaches reports whether a server answers.
func reaches(from *testnet.NS, proto string, to netip.Addr, port uint16, wait time.Duration) bool {
	c, err := from.TryDial(proto, netip.AddrPortFrom(to, port).String(), wait)
	if err != nil {
		return false
	}
	defer c.Close()
	if proto == "tcp" {
		return true
	}
	buf := make([]byte, 8)
	for end := time.Now().Add(wait); time.Now().Before(end); {
		_ = c.SetDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := c.Write([]byte("x")); err != nil {
			continue
		}
		if n, err := c.Read(buf); err == nil && n == 1 {
			return true
		}
	}
	return false
}

// path is from where to where packets go.
type path struct {
	from *testnet.NS
	to   netip.Addr
}

// judged checks that what is forbidden does not pass, from the first packet on, and what is allowed does.
func judged(t *testing.T, when string, paths ...path) {
	t.Helper()
	var wg sync.WaitGroup
	for _, p := range paths {
		for _, proto := range []string{"udp", "tcp"} {
			wg.Go(func() {
				if reaches(p.from, proto, p.to, forbidden, 500*time.Millisecond) {
					t.Errorf("%s: the forbidden port of %s answers by %s", when, p.to, proto)
				}
				if !reaches(p.from, proto, p.to, allowed, 5*time.Second) {
					t.Errorf("%s: the allowed port of %s does not answer by %s", when, p.to, proto)
				}
			})
		}
	}
	wg.Wait()
}

// onlyAllowed is a workload with queues that allow one port.
func onlyAllowed(t *testing.T, queues int) *enforced {
	t.Helper()
	x := newEnforced(t, nfqueue.Config{Marks: true, Queues: queues})
	x.apply(policy.RuleSpec{ID: 1, Ports: []policy.PortSpec{{Proto: packet.ProtoTCP, Lo: allowed, Hi: allowed}, {Proto: packet.ProtoUDP, Lo: allowed, Hi: allowed}}})
	serve(x.a.NS)
	serve(x.b.NS)
	return x
}

// both are the paths between the workload and its peer, of both families.
func (x *enforced) both() []path {
	return []path{{x.a.NS, x.b.IPv4}, {x.a.NS, x.b.IPv6}, {x.b.NS, x.a.IPv4}, {x.b.NS, x.a.IPv6}}
}

// TestWholeNamespace changes the interfaces of a workload: its packets are judged by whichever
// interface they pass, from the first one on, although the attachment does not change.
func TestWholeNamespace(t *testing.T) {
	x := onlyAllowed(t, 1)
	judged(t, "at first", x.both()...)
	ns := x.a.NS
	six := func(dev string) string { return "addr replace fd77::1/64 dev " + dev + " nodad" }
	steps := []struct {
		name  string
		lines []string
	}{
		{"renamed", []string{"link set eth0 down", "link set eth0 name net0", "link set net0 up", six("net0")}},
		{"another has its name", []string{"link add eth0 type bridge", "link set eth0 up"}},
		{"a macvlan on it", []string{"link add mv0 link net0 type macvlan mode bridge", "link set mv0 up", "addr flush dev net0", "addr add 10.77.0.1/24 dev mv0", six("mv0")}},
		{"a bridge takes it", []string{"link del mv0", "link add brin type bridge mcast_snooping 0", "link set brin up", "link set net0 master brin", "addr add 10.77.0.1/24 dev brin", six("brin")}},
		{"back", []string{"link del brin", "addr add 10.77.0.1/24 dev net0", six("net0")}},
	}
	for _, s := range steps {
		ip(t, ns, s.lines...)
		ip(t, x.b.NS, "neigh flush all")
		judged(t, s.name, x.both()...)
	}
	// A second connection to the network, and no first one.
	ip(t, ns, "link add eth1 type veth peer name eth1 netns "+x.b.Name, "link set eth1 up", "addr add 10.99.0.1/24 dev eth1", "addr add fd99::1/64 dev eth1 nodad")
	ip(t, x.b.NS, "link set eth1 up", "addr add 10.99.0.2/24 dev eth1", "addr add fd99::2/64 dev eth1 nodad")
	second := []path{{ns, netip.MustParseAddr("10.99.0.2")}, {ns, netip.MustParseAddr("fd99::2")}, {x.b.NS, netip.MustParseAddr("10.99.0.1")}, {x.b.NS, netip.MustParseAddr("fd99::1")}}
	judged(t, "a second interface", second...)
	ip(t, ns, "link del net0")
	judged(t, "the first one deleted", second...)
	if !reaches(ns, "tcp", netip.MustParseAddr("127.0.0.1"), forbidden, time.Second) {
		t.Error("what a workload sends to itself is refused")
	}
}

// TestOtherInterfaces gives an endpoint the list of interfaces that others judge.
func TestOtherInterfaces(t *testing.T) {
	testnet.RequireRoot(t)
	x := onlyAllowed(t, 1)
	ip(t, x.a.NS, "link add eth1 type veth peer name eth1 netns "+x.b.Name, "link set eth1 up", "addr add 10.99.0.1/24 dev eth1")
	ip(t, x.b.NS, "link set eth1 up", "addr add 10.99.0.2/24 dev eth1")
	var index int
	x.a.Do(func() error {
		i, err := net.InterfaceByName("eth1")
		if err == nil {
			index = i.Index
		}
		return err
	})
	to := netip.MustParseAddr("10.99.0.2")
	set := func(name string, number int, others ...int) {
		ep := oneHarness().Endpoint(1, x.a, backend.FailOpen)
		ep.Interface, ep.Index, ep.Others = name, number, others
		if err := x.e.Attach(context.Background(), nil, ep, "a"); err != nil { // no backend: it may not be attached again
			t.Fatal(err)
		}
	}
	judged(t, "not listed", path{x.a.NS, to})
	set("eth0", x.a.Index, index)
	if !reaches(x.a.NS, "tcp", to, forbidden, 5*time.Second) {
		t.Error("an interface that others judge is queued")
	}
	judged(t, "listed", x.both()...)
	set("eth0", x.a.Index)
	judged(t, "no longer listed", append(x.both(), path{x.a.NS, to})...)
	set("eth1", index)
	judged(t, "another interface", append(x.both(), path{x.a.NS, to})...)
	set("", 0)
	judged(t, "no interface", append(x.both(), path{x.a.NS, to})...)
}

// TestBridgedInside bridges a workload's interface with that of a nested container, whose frames
// reach no IP hook of the workload: they do not pass unjudged, and the workload's own are judged.
func TestBridgedInside(t *testing.T) {
	x := onlyAllowed(t, 1)
	nested := testnet.New(t).Namespace("nested")
	for _, f := range []string{"iptables", "ip6tables"} { // of br_netfilter, where it is loaded
		_ = x.a.NS.Command("sysctl", "-w", "net.bridge.bridge-nf-call-"+f+"=0").Run()
	}
	ip(t, x.a.NS, "link add brin type bridge mcast_snooping 0", "link set brin up", "link add vn type veth peer name eth0 netns "+nested.Name, "link set vn up", "link set vn master brin",
		"link set eth0 master brin", "addr flush dev eth0", "addr add 10.77.0.1/24 dev brin", "addr add fd77::1/64 dev brin nodad")
	ip(t, nested, "link set lo up", "link set eth0 up", "addr add 10.77.0.50/24 dev eth0", "addr add fd77::50/64 dev eth0 nodad")
	serve(nested)
	passes := func(wait time.Duration) (out []string) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for _, p := range []path{{x.b.NS, netip.MustParseAddr("10.77.0.50")}, {x.b.NS, netip.MustParseAddr("fd77::50")}, {nested, x.b.IPv4}, {nested, x.b.IPv6}} {
			for _, proto := range []string{"udp", "tcp"} {
				wg.Go(func() {
					if reaches(p.from, proto, p.to, forbidden, wait) {
						mu.Lock()
						defer mu.Unlock()
						out = append(out, proto+" to "+p.to.String())
					}
				})
			}
		}
		wg.Wait()
		return out
	}
	if got := passes(500 * time.Millisecond); len(got) > 0 {
		t.Errorf("passed by the bridge: %v", got)
	}
	judged(t, "bridged", x.both()...)
	ep := oneHarness().Endpoint(1, x.a, backend.FailOpen)
	ep.Interface, ep.Index, ep.Further = "", 0, []int{ep.Index} // without an attachment of its own
	if err := x.e.Attach(context.Background(), nil, ep, "a"); err != nil {
		t.Fatal(err)
	}
	if got := passes(500 * time.Millisecond); len(got) > 0 {
		t.Errorf("passed by a bridge to a further interface: %v", got)
	}
	if err := x.e.Detach(1); err != nil {
		t.Fatal(err)
	}
	await(t, "the rules are removed", func() bool { return len(passes(5*time.Second)) == 8 })
}
