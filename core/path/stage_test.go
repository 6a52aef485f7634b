package path_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/parsers/builtin"
)

const (
	begin   = int64(1_700_000_000e9)
	request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
)

// queue records what a path sends; no worker drives it.
type queue struct{ sent []packet.Frame }

func (*queue) Recv(*packet.Batch) error   { return nil }
func (*queue) Settle(*packet.Batch) error { return nil }
func (*queue) Wake()                      {}
func (*queue) Close() error               { return nil }
func (q *queue) Send(f *packet.Frame) error {
	g := *f
	g.Data = append([]byte(nil), f.Data...)
	q.sent = append(q.sent, g)
	return nil
}

// holder is a queue that keeps held packets itself.
type holder struct {
	queue
	discarded int
}

func (h *holder) Discard(*packet.Frame) { h.discarded++ }

// origin is a queue on lo that knows the original destinations of connections.
type origin struct {
	queue
	known bool
}

func (o *origin) Original(*packet.Frame, *packet.Packet) (packet.Addr, uint16, bool) {
	return packet.AddrFrom(netip.MustParseAddr("10.0.0.2")), 8080, o.known
}

// stage is a path with one workload at 10.0.0.1 and fd00::1, its endpoint 1, and its own
// clock.
type stage struct {
	t      testing.TB
	shared path.Shared
	p      *path.Path
	q      *queue
	end    path.Endpoint
	now    int64
	all    []flow.Record
}

type option func(*path.Config, *stage)

func newStage(t testing.TB, mode policy.Mode, options ...option) *stage {
	t.Helper()
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, q: &queue{}, now: begin, end: path.Endpoint{ID: 1, Workload: "w", Interface: "eth0", Datapath: "inline", Inline: mode == policy.Protect, Fail: packet.Pass}}
	cfg := path.Config{Shared: &s.shared, Identify: identify.Config{Parsers: reg}, Queue: s.q, Now: begin}
	for _, o := range options {
		o(&cfg, s)
	}
	s.publish()
	s.p = path.New(cfg)
	return s
}

func (s *stage) publish() {
	e := s.end
	s.shared.Endpoints.Store(&path.Endpoints{1: &e})
}

// policy applies rules for the workload.
func (s *stage) policy(version uint64, w policy.WorkloadSpec, rules ...policy.RuleSpec) {
	s.t.Helper()
	w.ID, w.Identity = "w", 1
	table, err := policy.Compile(&policy.Spec{
		Version:    version,
		Groups:     []policy.GroupSpec{{Name: "any", Any: true}, {Name: "svc:default/w"}, {Name: "svc:default/peer"}},
		Identities: []policy.IdentitySpec{{Groups: []uint32{0}}, {Groups: []uint32{0, 1}}, {Groups: []uint32{0, 2}}},
		Addresses: []policy.AddressSpec{
			{Prefix: netip.MustParsePrefix("10.0.0.1/32"), Identity: 1}, {Prefix: netip.MustParsePrefix("fd00::1/128"), Identity: 1},
			{Prefix: netip.MustParsePrefix("10.0.0.2/32"), Identity: 2}, {Prefix: netip.MustParsePrefix("fd00::2/128"), Identity: 2},
		},
		Workloads: []policy.WorkloadSpec{w}, Rules: rules,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.shared.Policy.Store(&path.Policy{Table: table, Generation: uint32(version)})
}

func protect() policy.WorkloadSpec { return policy.WorkloadSpec{Mode: policy.Protect} }

func allow(id uint32, proto uint8, port uint16, apps ...app.ID) policy.RuleSpec {
	return policy.RuleSpec{ID: id, From: 1, To: 2, Ports: []policy.PortSpec{{Proto: proto, Lo: port, Hi: port}}, Apps: apps}
}

// give judges frames as one batch and returns their actions.
func (s *stage) give(frames ...packet.Frame) (out []packet.Action) {
	s.p.Begin(s.now)
	for i := range frames {
		frames[i].Stamp = s.now
		s.p.Frame(&frames[i])
		out = append(out, frames[i].Verdict.Action)
	}
	s.p.Asked()
	s.p.Finish()
	s.p.Sessions().Report().Outbox().Drain(func(f *flow.Record) { s.all = append(s.all, *f) })
	return out
}

// pass advances the clock, with a batch every step.
func (s *stage) pass(d, step time.Duration) {
	for end := s.now + int64(d); s.now < end; {
		s.now = min(end, s.now+int64(step))
		s.give()
	}
}

func (s *stage) threats() (out []report.Threat) {
	s.p.Sessions().Report().Outbox().DrainThreats(func(x *report.Threat) { out = append(out, *x) })
	return out
}

func (s *stage) want(what string, got []packet.Action, want ...packet.Action) {
	s.t.Helper()
	if len(got) != len(want) {
		s.t.Fatalf("%s: %v, want %v", what, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			s.t.Errorf("%s: %v, want %v", what, got, want)
			return
		}
	}
}

func (s *stage) counted(id counter.ID, want uint64) {
	s.t.Helper()
	if got := s.p.Sessions().Report().Count(id); got != want {
		s.t.Errorf("%s: %d, want %d", counter.Worker[id].Name, got, want)
	}
}

func both(t *testing.T, fn func(t *testing.T, v6 bool)) {
	t.Run("ipv4", func(t *testing.T) { fn(t, false) })
	t.Run("ipv6", func(t *testing.T) { fn(t, true) })
}

// frame builds an Ethernet frame from the workload (end 0) or to it.
func frame(t testing.TB, v6 bool, end int, proto layers.IPProtocol, l4 gopacket.SerializableLayer, payload string) packet.Frame {
	t.Helper()
	macs := [2][]byte{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}
	eth := &layers.Ethernet{SrcMAC: macs[end], DstMAC: macs[1-end], EthernetType: layers.EthernetTypeIPv4}
	addr := func(n int) []byte {
		if v6 {
			return netip.MustParseAddr([]string{"fd00::1", "fd00::2"}[n]).AsSlice()
		}
		return netip.MustParseAddr([]string{"10.0.0.1", "10.0.0.2"}[n]).AsSlice()
	}
	var ip interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	}
	if v6 {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, NextHeader: proto, HopLimit: 64, SrcIP: addr(end), DstIP: addr(1 - end)}
	} else {
		ip = &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: addr(end), DstIP: addr(1 - end)}
	}
	if l, ok := l4.(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}); ok {
		_ = l.SetNetworkLayerForChecksum(ip)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, l4, gopacket.Payload(payload)); err != nil {
		t.Fatal(err)
	}
	data := append([]byte(nil), buf.Bytes()...)
	return packet.Frame{Data: data, Wire: uint32(len(data)), Endpoint: 1, Dir: []packet.Direction{packet.Egress, packet.Ingress}[end]}
}

func udp(t testing.TB, v6 bool, end int, from, to uint16, payload string) packet.Frame {
	t.Helper()
	return frame(t, v6, end, layers.IPProtocolUDP, &layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(to)}, payload)
}

// conn builds the segments of one connection from the workload.
type conn struct {
	v6           bool
	cport, sport uint16
	seq          [2]uint32
}

func (c *conn) seg(t testing.TB, end int, flags, payload string) packet.Frame {
	t.Helper()
	tcp := &layers.TCP{SrcPort: layers.TCPPort(c.cport), DstPort: layers.TCPPort(c.sport), Seq: c.seq[end], Ack: c.seq[1-end], Window: 65000}
	if end == 1 {
		tcp.SrcPort, tcp.DstPort = tcp.DstPort, tcp.SrcPort
	}
	n := uint32(len(payload))
	for _, f := range flags {
		switch f {
		case 'S':
			tcp.SYN = true
			n++
		case 'A':
			tcp.ACK = true
		case 'F':
			tcp.FIN = true
			n++
		case 'R':
			tcp.RST = true
		}
	}
	if !tcp.ACK {
		tcp.Ack = 0
	}
	c.seq[end] += n
	return frame(t, c.v6, end, layers.IPProtocolTCP, tcp, payload)
}

func open(t testing.TB, c *conn) []packet.Frame {
	t.Helper()
	return []packet.Frame{c.seg(t, 0, "S", ""), c.seg(t, 1, "SA", ""), c.seg(t, 0, "A", "")}
}

func newConn(v6 bool, cport, sport uint16) *conn {
	return &conn{v6: v6, cport: cport, sport: sport, seq: [2]uint32{1000, 90000}}
}

const (
	pass = packet.Pass
	drop = packet.Drop
	held = packet.Hold
)
