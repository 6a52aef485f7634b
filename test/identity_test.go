package test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// inside runs ip(8) in a namespace.
func inside(t *testing.T, ns *testnet.NS, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if out, err := ns.Command("ip", strings.Fields(l)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", l, err, out)
		}
	}
}

// stopped makes sure that no connection opens, however that shows: links may just have changed.
func (l *lab) stopped(when string, from *testnet.Workload, port int) {
	l.t.Helper()
	for _, family := range families {
		if c, err := from.TryDial(family, l.api.Addr(family, port), 3*time.Second); err == nil {
			c.Close()
			l.t.Errorf("%s: %s connected to port %d over %s, want it refused", when, from.Name, port, family)
		}
	}
}

// TestEnforcedWhateverHappensInside changes a protected workload from inside as its root can: what is
// not allowed stays refused, what is allowed works, and connections stay open.
func TestEnforcedWhateverHappensInside(t *testing.T) {
	for _, backend := range []string{"afpacket", "nfqueue"} {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t)
			nested := testnet.New(t).Namespace("nested")
			d := l.start()
			defer d.stop()
			l.learned()
			// The workload alone enforces: nothing else may refuse for it.
			l.run("workloads", "backend", "web", backend)
			l.run("mode", "set", "web", "protect")
			l.refused("at first", l.web, 9090)
			ns := l.web.NS
			ns.Sysctl("net/ipv4/conf/all/forwarding", "1")
			ns.Sysctl("net/ipv6/conf/all/forwarding", "1")
			six := func(dev string) string { return "addr replace fd77::1/64 dev " + dev + " nodad" }
			steps := []struct {
				name  string
				lines []string
			}{
				{"forwarding and a nested container", []string{"link add docker0 type bridge", "link set docker0 up", "link add vn type veth peer name eth0 netns " + nested.Name, "link set vn master docker0 up"}},
				{"down and up", []string{"link set eth0 down", "link set eth0 up", six("eth0")}},
				{"its address on lo only", []string{"addr add 10.77.0.1/32 dev lo", "addr add fd77::1/128 dev lo", "addr flush dev eth0", "route add 10.77.0.0/24 dev eth0 src 10.77.0.1", "-6 route add fd77::/64 dev eth0 src fd77::1"}},
				{"back on the interface", []string{"addr flush dev lo scope global", "addr replace 10.77.0.1/24 dev eth0", six("eth0")}},
				{"renamed", []string{"link set eth0 down", "link set eth0 name net0", "link set net0 up", six("net0")}},
				{"another address", []string{"addr add 10.77.0.99/24 dev net0", "addr add fd77::99/64 dev net0 nodad"}},
				{"a bridge takes it", []string{"link add brin type bridge", "link set brin up", "link set net0 master brin", "addr flush dev net0", "addr add 10.77.0.1/24 dev brin", six("brin")}},
			}
			for _, s := range steps {
				inside(t, ns, s.lines...)
				l.stopped(s.name+", at once", l.web, 9090)
				l.works(s.name)
				l.refused(s.name, l.web, 9090)
				if out := l.run("workloads"); !strings.Contains(out, "web") || strings.Contains(out, "not enforced") {
					t.Errorf("%s: workloads\n%s", s.name, out)
				}
			}
		})
	}
}

// TestInterfaceMovedAway moves the interface of a protected workload to another namespace, as its root
// can with namespaces of its own.
func TestInterfaceMovedAway(t *testing.T) {
	for _, backend := range []string{"afpacket", "nfqueue"} {
		t.Run(backend, func(t *testing.T) { movedAway(t, backend) })
	}
}

func movedAway(t *testing.T, backend string) {
	l := newLab(t)
	nested := testnet.New(t).Namespace("nested")
	d := l.start()
	defer d.stop()
	l.learned()
	l.run("workloads", "backend", "web", backend)
	l.run("mode", "set", "web", "protect")
	l.refused("at first", l.web, 9090)
	inside(t, l.web.NS, "link set eth0 netns "+nested.Name)
	inside(t, nested, "link set eth0 up", "addr add 10.77.0.1/24 dev eth0", "addr add fd77::1/64 dev eth0 nodad")
	time.Sleep(300 * time.Millisecond) // the notification
	away := *l.web
	away.NS = nested
	for _, family := range families {
		c, err := away.TryDial(family, l.api.Addr(family, 9090), time.Second)
		if err == nil {
			c.Close()
			t.Errorf("%s: connected from where the interface is now, want it refused", family)
		}
	}
	until(t, 5*time.Second, "the warning shown", func() error {
		if out := l.run("status"); !strings.Contains(out, "was moved to another namespace") {
			return errors.New(out)
		}
		return nil
	})
}

// TestNewInterfaceAtOnce adds and remakes interfaces of a workload that is enforced by queues: what is not allowed
// is refused from the first packet on.
func TestNewInterfaceAtOnce(t *testing.T) {
	l := newLab(t)
	d := l.start()
	defer d.stop()
	l.learned()
	l.run("workloads", "backend", "web", "nfqueue")
	l.run("mode", "set", "web", "protect")
	l.refused("at first", l.web, 9090)
	for i, when := range []string{"new", "made again", "made again once more"} {
		for _, ns := range []*testnet.NS{l.web.NS, l.api.NS} { // the latter's is the other end
			_ = ns.Command("ip", "link", "del", "eth1").Run()
		}
		inside(t, l.web.NS, "link add eth1 type veth peer name eth1 netns "+l.api.NS.Name, "link set eth1 up", "addr add 10.99.0.1/24 dev eth1", "addr add fd99::1/64 dev eth1 nodad")
		inside(t, l.api.NS, "link set eth1 up", "addr add 10.99.0.2/24 dev eth1", "addr add fd99::2/64 dev eth1 nodad")
		for range 5 {
			for _, to := range []string{"10.99.0.2:9090", "[fd99::2]:9090"} {
				if c, err := l.web.TryDial("tcp", to, 3*time.Second); err == nil {
					c.Close()
					t.Errorf("%s: connected to %s, want it refused", when, to)
				}
			}
		}
		if i == 1 {
			inside(t, l.host, "link del "+l.web.HostInterface) // from now on eth1 is the only one
		}
	}
}

// TestAddressReused gives a workload's address to another service a moment after its end.
func TestAddressReused(t *testing.T) {
	l := newLab(t)
	d := l.start()
	defer d.stop()
	for _, family := range families {
		for range 2 {
			if err := l.get(l.web, family); err != nil {
				t.Fatal(err)
			}
		}
		c := l.intruder.Dial(family, l.api.Addr(family, 9090))
		if _, err := c.Write([]byte("hello\n")); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Read(make([]byte, 8))
		c.Close()
	}
	until(t, 10*time.Second, "both rules learned", func() error {
		rs := read[[]rule](l.program, "rules")
		for _, from := range []string{"web", "intruder"} {
			if !slices.ContainsFunc(rs, func(r rule) bool { return r.From == "svc:default/"+from && r.To == "svc:default/api" }) {
				return fmt.Errorf("rules %+v", rs)
			}
		}
		return nil
	})
	l.run("mode", "set", "api", "protect")
	reach := func(from *testnet.Workload, family string, port int) bool {
		c, err := from.TryDial(family, l.api.Addr(family, port), time.Second)
		if err != nil {
			return false
		}
		defer c.Close()
		if port == 8080 {
			return request(c) == nil
		}
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_, err = c.Write([]byte("hello\n"))
		n, rerr := c.Read(make([]byte, 8))
		return err == nil && rerr == nil && n > 0
	}
	// web ends, and the other service has its addresses at once.
	inside(t, l.host, "link del "+l.web.HostInterface)
	inside(t, l.intruder.NS, "addr flush dev eth0 scope global", "addr add 10.77.0.1/24 dev eth0", "addr add fd77::1/64 dev eth0 nodad")
	for _, ns := range []*testnet.NS{l.intruder.NS, l.api.NS} { // no gratuitous announcements here
		inside(t, ns, "-4 neigh flush all", "-6 neigh flush all")
	}
	for _, after := range []time.Duration{100 * time.Millisecond, time.Second, 4 * time.Second} {
		time.Sleep(after)
		for _, family := range families {
			if !reach(l.intruder, family, 9090) {
				t.Errorf("%s later, %s: the new owner's own call is refused", after, family)
			}
			if reach(l.intruder, family, 8080) {
				t.Errorf("%s later, %s: the new owner may do what the old one might", after, family)
			}
		}
	}
}

// TestAddressOfTwo gives two workloads one address: what only one of them may do is refused, and
// the pair is shown.
func TestAddressOfTwo(t *testing.T) {
	l := newLab(t)
	d := l.start()
	defer d.stop()
	l.learned()
	l.run("mode", "set", "api", "protect")
	l.works("alone")
	inside(t, l.intruder.NS, "addr add 10.77.0.1/32 dev lo", "addr add fd77::1/128 dev lo")
	until(t, 5*time.Second, "both shown", func() error {
		if out := l.run("status"); !strings.Contains(out, "both have the address 10.77.0.1") || !strings.Contains(out, "both have the address fd77::1") {
			return errors.New(out)
		}
		return nil
	})
	for _, family := range families {
		if err := l.getIn(l.web, family, time.Second); err == nil {
			t.Errorf("%s: passes, although an owner of the address may not", family)
		}
	}
	inside(t, l.intruder.NS, "addr del 10.77.0.1/32 dev lo", "addr del fd77::1/128 dev lo")
	until(t, 5*time.Second, "allowed again", func() error {
		for _, family := range families {
			if err := l.getIn(l.web, family, time.Second); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestAddressOnLo shows a service address on lo by the workload's name.
func TestAddressOnLo(t *testing.T) {
	l := newLab(t)
	inside(t, l.api.NS, "addr add 10.77.0.200/32 dev lo", "addr add fd77::200/128 dev lo")
	inside(t, l.web.NS, "route add 10.77.0.200/32 via 10.77.0.2", "-6 route add fd77::200/128 via fd77::2")
	d := l.start()
	defer d.stop()
	for family, host := range map[string]string{"tcp4": "10.77.0.200", "tcp6": "fd77::200"} {
		go echo(l.api.Listen(family, net.JoinHostPort(host, "7000")))
		c := l.web.Dial(family, net.JoinHostPort(host, "7000"))
		_, _ = c.Write([]byte("hello\n"))
		_, _ = c.Read(make([]byte, 8))
		c.Close()
	}
	until(t, 10*time.Second, "both connections shown as the workload's", func() error {
		seen := map[string]bool{}
		cs := read[[]connection](l.program, "connections")
		for _, c := range cs {
			if c.Port == 7000 && c.From == "web" && c.To == "api" {
				seen[c.Family] = true
			}
		}
		if len(seen) != 2 {
			return fmt.Errorf("connections %+v", cs)
		}
		return nil
	})
}
