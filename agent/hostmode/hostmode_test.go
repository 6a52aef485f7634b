package hostmode_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/agent/hostmode"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// lab is a namespace that plays the host, a peer, and a watcher of the first.
type lab struct {
	t          *testing.T
	net        *testnet.Net
	host, peer *testnet.Workload
	w          *hostmode.Watcher
	flows      []flow.Record
}

func newLab(t *testing.T, cfg hostmode.Config, containers ...string) *lab {
	t.Helper()
	testnet.RequireRoot(t)
	n := testnet.New(t)
	b := n.Bridge("node", "peer")
	l := &lab{t: t, net: n, host: b.Workloads[0], peer: b.Workloads[1], w: hostmode.New(cfg)}
	l.w.Watch([]hostmode.Workload{{ID: "host:n", Endpoint: 7, NetNS: l.host.Path, Containers: containers}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	l.until("sockets listed", func() bool { return l.w.Counters()["hostmode.lists"] > 0 })
	return l
}

// drain takes what was recorded into flows.
func (l *lab) drain() {
	l.w.Drain(func(f *flow.Record) { l.flows = append(l.flows, *f) })
}

// count counts the records of a kind that are as they should be.
func (l *lab) count(k flow.Kind, ok func(*flow.Record) bool) int {
	n := 0
	for i := range l.flows {
		if l.flows[i].Kind == k && ok(&l.flows[i]) {
			n++
		}
	}
	return n
}

func (l *lab) until(what string, ok func() bool) {
	l.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatalf("never: %s; counters %v, records %+v", what, l.w.Counters(), l.flows)
		}
		l.drain()
	}
}

// serve accepts connections in the peer and closes them when the client does.
func (l *lab) serve(network string) string {
	s := l.peer.Listen(network, l.peer.Addr(network, 0))
	go func() {
		for {
			c, err := s.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var b [64]byte
				for {
					n, err := c.Read(b[:])
					if err != nil {
						return
					}
					_, _ = c.Write(b[:n])
				}
			}()
		}
	}()
	return s.Addr().String()
}

// short makes connections that are closed at once.
func (l *lab) short(network, to string, n int, apart time.Duration) {
	l.t.Helper()
	for range n {
		c, err := l.host.TryDial(network, to, 10*time.Second)
		if err != nil {
			l.t.Fatal(err)
		}
		c.Close()
		time.Sleep(apart)
	}
}

// traced skips if the tracepoint is unavailable.
func (l *lab) traced() {
	l.t.Helper()
	if l.w.Counters()["hostmode.traced"] == 0 {
		l.t.Skip("the kernel has no BTF, so there is no tracepoint: ", l.w.Note())
	}
}

func port(addr string) uint16 { return netip.MustParseAddrPort(addr).Port() }

func TestShortConnections(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run(network, func(t *testing.T) {
			l := newLab(t, hostmode.Config{Every: 300 * time.Millisecond})
			l.traced()
			to := l.serve(network)
			const n = 10
			l.short(network, to, n, 100*time.Millisecond)
			is := func(f *flow.Record) bool {
				return f.ServerPort == port(to) && f.Endpoint == 7 && f.Dir == packet.Egress && f.Answered && f.IPv6 == (network == "tcp6") && f.Client == packet.AddrFrom(addrOf(l.host, network)) &&
					f.Proto == packet.ProtoTCP && !f.Enforced
			}
			l.until("all begun and ended", func() bool { return l.count(flow.Start, is) == n && l.count(flow.End, is) == n })
			before := len(l.flows)
			time.Sleep(700 * time.Millisecond) // two more listings must not report them again
			l.drain()
			// A listing that meets a connection while it is open updates it.
			if starts, again := l.count(flow.Start, is), len(l.flows)-before; starts != n || again != 0 || before != 2*n+l.count(flow.Update, is) {
				t.Errorf("%d beginnings, %d records, %d of them afterwards; want %d, 2 for each and its updates, 0", starts, len(l.flows), again, n)
			}
			for _, f := range l.flows {
				if want := map[flow.Kind]flow.Outcome{flow.Start: flow.OutcomeEstablished, flow.Update: flow.OutcomeEstablished, flow.End: flow.OutcomeClosed}[f.Kind]; f.Outcome != want {
					t.Errorf("%v: outcome %v, want %v", f.Kind, f.Outcome, want)
				}
				if f.Kind == flow.Start && (f.Detail.Get("process") == "" || f.Detail.Get("pid") == "" || f.Evidence != flow.EvidenceHandshake) {
					t.Errorf("record %+v does not say whose it is", f)
				}
			}
			if c := l.w.Counters(); c["hostmode.missed"] != 0 || c["hostmode.events_lost"] != 0 || l.w.Note() != hostmode.Note {
				t.Errorf("counters %v, note %q", c, l.w.Note())
			}
		})
	}
}

func addrOf(w *testnet.Workload, network string) netip.Addr {
	if network == "tcp6" {
		return w.IPv6
	}
	return w.IPv4
}

// TestListed is without the tracepoint: what lasts is seen, and what is missed is counted and said.
func TestListed(t *testing.T) {
	l := newLab(t, hostmode.Config{Every: 200 * time.Millisecond, NoTrace: true})
	l.until("the note", func() bool { return l.w.Note() != hostmode.Note })
	to := l.serve("tcp4")
	c := l.host.Dial("tcp4", to)
	long := func(f *flow.Record) bool { return f.ServerPort == port(to) && f.Dir == packet.Egress }
	l.until("a connection that lasts", func() bool { return l.count(flow.Start, long) == 1 })
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	l.until("its bytes", func() bool {
		return l.count(flow.Update, func(f *flow.Record) bool { return long(f) && f.Bytes[0] >= 45 && f.Packets[0] > 0 }) == 1
	})
	c.Close()
	l.until("its end", func() bool { return l.count(flow.End, long) == 1 })

	// The peer of these closes first, so that no TIME_WAIT is left on the host's side.
	s := l.peer.Listen("tcp4", l.peer.Addr("tcp4", 0))
	go func() {
		for {
			c, err := s.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	const n = 20
	for range n {
		c, err := l.host.TryDial("tcp4", s.Addr().String(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		_, _ = c.Read(b[:])
		c.Close()
	}
	is := func(f *flow.Record) bool { return f.ServerPort == port(s.Addr().String()) }
	l.until("those missed counted", func() bool {
		return int(l.w.Counters()["hostmode.missed"])+l.count(flow.Start, is) == n && l.w.Counters()["hostmode.missed"] > 0
	})
	t.Logf("%d of %d short connections seen, %d counted as missed; note: %s", l.count(flow.Start, is), n, l.w.Counters()["hostmode.missed"], l.w.Note())
}

func TestServer(t *testing.T) {
	l := newLab(t, hostmode.Config{Every: 200 * time.Millisecond})
	l.traced()
	c := l.host.Command("busybox", "nc", "-ll", "-p", "8088", "-e", "/bin/true")
	if err := c.Start(); err != nil {
		t.Skip("needs busybox: ", err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	to := l.host.Addr("tcp4", 8088)
	l.until("the server", func() bool { _, err := l.peer.TryDial("tcp4", to, time.Second); return err == nil })
	is := func(f *flow.Record) bool {
		return f.ServerPort == 8088 && f.Dir == packet.Ingress && f.Client == packet.AddrFrom(l.peer.IPv4) && f.Detail.Get("process") == "busybox"
	}
	l.until("a connection in", func() bool { return l.count(flow.Start, is) == 1 })

	if _, err := l.host.TryDial("tcp4", l.peer.Addr("tcp4", 9), time.Second); err == nil {
		t.Fatal("another process listens on port 9")
	}
	l.until("a refused one", func() bool {
		return l.count(flow.End, func(f *flow.Record) bool { return f.ServerPort == 9 && f.Outcome == flow.OutcomeRefused && !f.Answered }) == 1
	})
	if _, err := l.host.TryDial("tcp4", "127.0.0.1:8088", time.Second); err != nil {
		t.Fatal(err)
	}
	l.until("one that stays on the host counted", func() bool { return l.w.Counters()["hostmode.local"] > 0 })
	if n := l.count(flow.Start, func(f *flow.Record) bool { return f.Server[12] == 127 }); n != 0 {
		t.Errorf("%d connections of loopback reported", n)
	}
}

// TestPeer: who has the host's end of a connection that its other end reports, by address and port.
func TestPeer(t *testing.T) {
	l := newLab(t, hostmode.Config{Every: 200 * time.Millisecond})
	l.traced()
	is := func(what string, f flow.Record) {
		t.Helper()
		l.until(what, func() bool {
			p, ok := l.w.Peer(&f)
			return ok && p.Workload == "host:n" && p.Detail.Get("process") != "" && p.Detail.Get("pid") != ""
		})
	}
	for _, network := range []string{"tcp4", "tcp6"} {
		c := l.host.Dial(network, l.serve(network))
		local := netip.MustParseAddrPort(c.LocalAddr().String())
		f := flow.Record{Key: flow.Key{Client: packet.AddrFrom(local.Addr()), ClientPort: local.Port(), Proto: packet.ProtoTCP, IPv6: network == "tcp6"}, Dir: packet.Ingress}
		is("a client on "+network, f)
		c.Close()
		l.until("its end", func() bool {
			return l.count(flow.End, func(f *flow.Record) bool { return f.ClientPort == local.Port() }) == 1
		})
		is("a client that has gone", f)
		other := f
		other.ClientPort++
		if p, ok := l.w.Peer(&other); ok {
			t.Errorf("another port is %s's", p.Workload)
		}
		other = f
		other.Client = packet.AddrFrom(addrOf(l.peer, network))
		if p, ok := l.w.Peer(&other); ok {
			t.Errorf("another address is %s's", p.Workload)
		}
	}
	for _, network := range []string{"udp4", "udp6"} {
		local := netip.MustParseAddrPort(l.host.Addr(network, 5300))
		l.bind(network, local.String())
		is("a server on "+network, flow.Record{Key: flow.Key{Server: packet.AddrFrom(local.Addr()), ServerPort: local.Port(), Proto: packet.ProtoUDP, IPv6: network == "udp6"}, Dir: packet.Egress})
	}
}

// bind has another process bind a UDP socket on the host until the test ends.
func (l *lab) bind(network, addr string) {
	l.t.Helper()
	c := l.host.Command(os.Args[0], "-test.run=^TestBind$")
	c.Env = append(os.Environ(), "SLUICE_TEST_BIND="+network+" "+addr)
	if err := c.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
}

// TestBind is the process of bind; without its variable it has nothing to do.
func TestBind(t *testing.T) {
	network, addr, ok := strings.Cut(os.Getenv("SLUICE_TEST_BIND"), " ")
	if !ok {
		return
	}
	c, err := net.ListenPacket(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	time.Sleep(time.Minute)
}

// TestJudged checks each mode's verdict, that none refuses, and that a new policy judges again.
func TestJudged(t *testing.T) {
	l := newLab(t, hostmode.Config{Every: 200 * time.Millisecond})
	to := l.serve("tcp4")
	c := l.host.Dial("tcp4", to)
	is := func(v flow.Verdict) func(*flow.Record) bool {
		return func(f *flow.Record) bool { return f.ServerPort == port(to) && f.Verdict == v && !f.Enforced }
	}
	l.until("open before there is a policy", func() bool { return l.count(flow.Start, is(flow.Open)) == 1 })
	for i, m := range []struct {
		mode policy.Mode
		want flow.Verdict
	}{{policy.Discover, flow.Learn}, {policy.Monitor, flow.Violate}, {policy.Discover, flow.Learn}, {policy.Protect, flow.Violate}} {
		table, err := policy.Compile(&policy.Spec{Version: uint64(i + 1), Groups: []policy.GroupSpec{{Name: "any", Any: true}}, Identities: []policy.IdentitySpec{{}},
			Workloads: []policy.WorkloadSpec{{ID: "host:n", Mode: m.mode}}})
		if err != nil {
			t.Fatal(err)
		}
		l.flows = nil
		l.w.Apply(table)
		l.until("judged as "+m.want.String(), func() bool { return l.count(flow.Update, is(m.want)) == 1 })
	}
	if _, err := c.Write([]byte("still open")); err != nil {
		t.Error(err)
	}
	l.flows = nil
	l.short("tcp4", to, 1, 0)
	l.until("a new one is a violation and passes", func() bool {
		return slices.ContainsFunc(l.flows, func(f flow.Record) bool { return is(flow.Violate)(&f) && f.Answered })
	})
}

func TestBounded(t *testing.T) {
	l := newLab(t, hostmode.Config{Every: 200 * time.Millisecond, MaxConnections: 3})
	to := l.serve("tcp4")
	for range 6 {
		l.host.Dial("tcp4", to)
	}
	l.until("some not taken", func() bool { return l.w.Counters()["hostmode.table_full"] >= 3 })
	if n := l.w.Counters()["hostmode.open"]; n > 3 {
		t.Errorf("%d connections remembered, want at most 3", n)
	}
}

// TestContainer checks that a connection is its container's even when its process lived for a moment.
func TestContainer(t *testing.T) {
	testnet.RequireDocker(t)
	n := testnet.New(t)
	b := n.Bridge("node", "peer")
	d := n.Docker(b.Workloads[0].NS)
	l := &lab{t: t, net: n, host: b.Workloads[0], peer: b.Workloads[1], w: hostmode.New(hostmode.Config{Every: 200 * time.Millisecond})}
	to := l.serve("tcp4")
	id := d.Run(testnet.Container{Name: "hosty", Network: "host", Command: []string{"/bin/sh", "-c",
		"while true; do echo x | nc -w 1 " + l.peer.IPv4.String() + " " + portText(to) + "; sleep 0.1; done"}})
	l.w.Watch([]hostmode.Workload{{ID: "host:n", Endpoint: 7, NetNS: l.host.Path}, {ID: "docker:x", Endpoint: 8, NetNS: d.NS(id).Path, Containers: []string{id}}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	its := func(f *flow.Record) bool {
		return f.Endpoint == 8 && f.ServerPort == port(to) && f.Detail.Get("container") == id[:12] && f.Detail.Get("process") == "nc"
	}
	l.until("connections of the container", func() bool { return l.count(flow.Start, its) >= 3 })
	l.short("tcp4", to, 1, 0)
	l.until("one of the host itself", func() bool {
		return l.count(flow.Start, func(f *flow.Record) bool { return f.Endpoint == 7 && f.ServerPort == port(to) }) == 1
	})
}

func portText(addr string) string { return strconv.Itoa(int(port(addr))) }
