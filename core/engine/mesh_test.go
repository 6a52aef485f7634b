package engine_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// Addresses of a workload, of a peer, and of a sidecar that connects to its application.
var (
	own     = map[bool]string{false: "10.0.0.1", true: "fd00::1"}
	peer    = map[bool]string{false: "10.0.0.2", true: "fd00::2"}
	sidecar = map[bool]string{false: "127.0.0.6", true: "::6"}
)

// clientHello is the first message of a TLS client.
func clientHello(t *testing.T) string {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	go func() {
		_ = tls.Client(a, &tls.Config{ServerName: "api.test", MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}).Handshake()
		a.Close()
	}()
	buf := make([]byte, 4096)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// between rewrites a connection of the bench to other addresses, on another endpoint.
type between struct {
	*conn
	endpoint uint32
	from, to string
	in       bool // the workload is the server
}

func (c *between) seg(t *testing.T, end int, flags, payload string) packet.Frame {
	t.Helper()
	f := c.conn.seg(t, end, flags, payload)
	f.Endpoint = c.endpoint
	if c.in {
		f.Dir = f.Dir.Reverse()
	}
	addr := [2]netip.Addr{netip.MustParseAddr(c.from), netip.MustParseAddr(c.to)}
	const eth = 14
	if c.v6 {
		copy(f.Data[eth+8:], addr[end].AsSlice())
		copy(f.Data[eth+24:], addr[1-end].AsSlice())
	} else {
		copy(f.Data[eth+12:], addr[end].AsSlice())
		copy(f.Data[eth+16:], addr[1-end].AsSlice())
		binary.BigEndian.PutUint16(f.Data[eth+10:], 0)
	}
	return mend(t, f)
}

// mend recomputes a frame's checksums.
func mend(t *testing.T, f packet.Frame) packet.Frame {
	t.Helper()
	p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.Default)
	ip := p.NetworkLayer().(interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	})
	tcp := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	_ = tcp.SetNetworkLayerForChecksum(ip)
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		p.LinkLayer().(*layers.Ethernet), ip, tcp, gopacket.Payload(tcp.Payload)); err != nil {
		t.Fatal(err)
	}
	f.Data = append([]byte(nil), buf.Bytes()...)
	return f
}

func (c *between) open(t *testing.T) []packet.Frame {
	t.Helper()
	return []packet.Frame{c.seg(t, 0, "S", ""), c.seg(t, 1, "SA", ""), c.seg(t, 0, "A", "")}
}

// meshed is a bench whose workload has a sidecar, in protect mode: its peer may use HTTP on
// port 8080.
func meshed(t *testing.T) (*bench, *memQueue) {
	t.Helper()
	b := newBench(t)
	b.policy(1, policy.Protect, policy.WorkloadSpec{}, policy.RuleSpec{ID: 7, From: 2, To: 1, Ports: tcpPort(8080), Apps: []app.ID{app.HTTP}})
	q := b.attach(backend.Inline)
	lo := backend.Endpoint{ID: 2, Kind: backend.Inline, Interface: "lo", Hook: backend.Hook{Side: backend.LoopbackSide}}
	if err := b.e.Attach(context.Background(), b.be, lo, "w"); err != nil {
		t.Fatal(err)
	}
	return b, q
}

// TestWhatIsEncryptedIsNamedOnLo admits a peer's encrypted connections, whose content is
// visible on lo.
func TestWhatIsEncryptedIsNamedOnLo(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b, q := meshed(t)
		hello := clientHello(t)
		outside := func(port uint16, who string) string {
			c := &between{newConn(v6, port, 8080), 1, who, own[v6], true}
			return actions(q.give(append(c.open(t), c.seg(t, 0, "PA", hello))...))
		}
		if got := outside(40000, peer[v6]); got != "pass pass pass pass" {
			t.Fatalf("before anything was seen on lo: %s", got)
		}
		if got := outside(40000, map[bool]string{false: "10.0.0.9", true: "fd00::9"}[v6]); got[:4] != "drop" {
			t.Errorf("a stranger: %s, want drop", got)
		}
		c := &between{newConn(v6, 50000, 8080), 2, sidecar[v6], own[v6], true}
		if got := actions(q.give(append(c.open(t), c.seg(t, 0, "PA", httpRequest))...)); got != "pass pass pass pass" {
			t.Fatalf("what is allowed, on lo: %s", got)
		}
		if got := outside(40001, peer[v6]); got != "pass pass pass pass" {
			t.Fatalf("after it was seen on lo: %s", got)
		}
		all := b.flows(func(f flow.Record) bool { return f.ClientPort == 40001 && app.ID(f.App) == app.HTTP })
		last := all[len(all)-1]
		for _, f := range all {
			if f.ClientPort == 40001 {
				last = f
			}
		}
		if app.ID(last.Base) != app.TLS || last.Rule != 7 || last.Verdict != flow.Allow {
			t.Errorf("%+v: want it over TLS, allowed by rule 7", last)
		}
	})
}

// TestWhatLoRefuses uses another application over the same encrypted connection.
func TestWhatLoRefuses(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b, q := meshed(t)
		out := &between{newConn(v6, 40000, 8080), 1, peer[v6], own[v6], true}
		q.give(append(out.open(t), out.seg(t, 0, "PA", clientHello(t)))...)
		c := &between{newConn(v6, 50000, 8080), 2, sidecar[v6], own[v6], true}
		q.give(c.open(t)...)
		if got := actions(q.give(c.seg(t, 0, "PA", "*1\r\n$4\r\nPING\r\n"))); got != "drop" {
			t.Fatalf("redis: %s, want drop", got)
		}
		if n := len(q.takeSent()); n != 2 {
			t.Errorf("%d resets, want one for each end", n)
		}
		all := b.flows(func(f flow.Record) bool { return f.Verdict == flow.Deny })
		for _, f := range all {
			if f.Verdict != flow.Deny {
				continue
			}
			if got := f.Client.Netip(); got != netip.MustParseAddr(peer[v6]) || !f.Loopback || app.ID(f.App) != app.Redis {
				t.Errorf("refused: %+v, want redis of %s, on lo", f, peer[v6])
			}
		}
	})
}

// TestNamesAreAwaited delays a record's name until lo had time to show it, and no longer.
func TestNamesAreAwaited(t *testing.T) {
	b, q := meshed(t)
	out := &between{newConn(false, 40000, 8080), 1, peer[false], own[false], true}
	q.give(append(out.open(t), out.seg(t, 0, "PA", clientHello(t)))...)
	first := b.flows(func(flow.Record) bool { return true })[0]
	if app.ID(first.App) != app.Undecided {
		t.Errorf("reported as %v at first, want undecided", app.ID(first.App))
	}
	for end := time.Now().Add(20 * time.Second); ; {
		found := false
		b.e.Drain(func(f *flow.Record) { found = found || app.ID(f.App) == app.TLS })
		if found {
			return
		}
		if time.Now().After(end) {
			t.Fatal("never reported as TLS, though lo shows nothing")
		}
		q.Wake()
		time.Sleep(20 * time.Millisecond)
	}
}

// TestAnotherClientVouches has two clients of one encrypted port, of which the older is
// allowed what the newest is not: it passes for both.
func TestAnotherClientVouches(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b, q := meshed(t)
		b.policy(2, policy.Protect, policy.WorkloadSpec{}, policy.RuleSpec{ID: 7, From: 2, To: 1, Ports: tcpPort(8080), Apps: []app.ID{app.HTTP}},
			policy.RuleSpec{ID: 8, From: 0, To: 1, Ports: tcpPort(8080), Apps: []app.ID{app.Redis}})
		hello := clientHello(t)
		for i, who := range []string{peer[v6], map[bool]string{false: "10.0.0.9", true: "fd00::9"}[v6]} {
			c := &between{newConn(v6, uint16(40000+i), 8080), 1, who, own[v6], true}
			if got := actions(q.give(append(c.open(t), c.seg(t, 0, "PA", hello))...)); got != "pass pass pass pass" {
				t.Fatalf("client %d outside: %s", i, got)
			}
		}
		lo := &between{newConn(v6, 50000, 8080), 2, sidecar[v6], own[v6], true}
		if got := actions(q.give(append(lo.open(t), lo.seg(t, 0, "PA", httpRequest))...)); got != "pass pass pass pass" {
			t.Fatalf("HTTP for one of two clients: %s", got)
		}
		all := b.flows(func(f flow.Record) bool { return f.Loopback && app.ID(f.App) == app.HTTP })
		for _, f := range all {
			if got := f.Client.Netip(); f.Loopback && (f.Verdict == flow.Deny || got != netip.MustParseAddr(sidecar[v6])) {
				t.Errorf("on lo: %v of %v, want what the sidecar sent, not refused", f.Verdict, got)
			}
		}
	})
}
