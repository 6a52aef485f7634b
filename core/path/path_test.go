package path_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/sidecar"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/builtin"
)

const (
	begin   = int64(1_700_000_000e9)
	request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
)

// queue takes what a path sends; it is driven by nobody.
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

// origin is a queue on lo that knows where connections were addressed to.
type origin struct {
	queue
	known bool
}

func (o *origin) Original(*packet.Frame, *packet.Packet) (packet.Addr, uint16, bool) {
	return packet.AddrFrom(netip.MustParseAddr("10.0.0.2")), 8080, o.known
}

// stage is a path with one workload at 10.0.0.1 and fd00::1, its endpoint 1, and a clock of its own.
type stage struct {
	t      *testing.T
	shared path.Shared
	p      *path.Path
	q      *queue
	end    path.Endpoint
	now    int64
	all    []flow.Record
}

type option func(*path.Config, *stage)

func newStage(t *testing.T, mode policy.Mode, options ...option) *stage {
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

// policy puts rules into force.
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

// give judges frames as one batch and lists what became of them.
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

// pass lets time go by, with a batch every step.
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
func frame(t *testing.T, v6 bool, end int, proto layers.IPProtocol, l4 gopacket.SerializableLayer, payload string) packet.Frame {
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

func udp(t *testing.T, v6 bool, end int, from, to uint16, payload string) packet.Frame {
	t.Helper()
	return frame(t, v6, end, layers.IPProtocolUDP, &layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(to)}, payload)
}

// conn makes the segments of one connection from the workload.
type conn struct {
	v6           bool
	cport, sport uint16
	seq          [2]uint32
}

func (c *conn) seg(t *testing.T, end int, flags, payload string) packet.Frame {
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

func open(t *testing.T, c *conn) []packet.Frame {
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

// TestHeldInTheQueue has the queue keep what is held: it is let go there, or discarded.
func TestHeldInTheQueue(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		h := &holder{}
		s := newStage(t, policy.Protect, func(c *path.Config, s *stage) { c.Queue = h; s.q = &h.queue })
		s.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
		c, bad := newConn(v6, 40000, 8080), newConn(v6, 40001, 8080)
		s.give(append(open(t, c), open(t, bad)...)...)
		s.want("the beginning of a request", s.give(c.seg(t, 0, "A", request[:5])), held)
		s.want("its end", s.give(c.seg(t, 0, "A", request[5:])), pass)
		if len(h.sent) != 1 || h.discarded != 1 {
			t.Errorf("%d frames let go, %d given up, want 1 and 1", len(h.sent), h.discarded)
		}
		s.want("another application", s.give(bad.seg(t, 0, "A", "*1\r\n")), drop)
		s.counted(counter.HeldFrames, 1)
	})
}

// TestHoldTimes by the clock: a pause, the hold time, and where that denies.
func TestHoldTimes(t *testing.T) {
	for _, tt := range []struct {
		name string
		w    policy.WorkloadSpec
		more bool // pieces keep coming
		at   time.Duration
		want flow.Verdict
		sent int
	}{
		{"a pause lets it go", policy.WorkloadSpec{}, false, 220 * time.Millisecond, flow.Pending, 1},
		{"the hold time is over", policy.WorkloadSpec{Hold: 300 * time.Millisecond}, true, 320 * time.Millisecond, flow.Violate, 3},
		{"and denies", policy.WorkloadSpec{Hold: 300 * time.Millisecond, HoldDeny: true}, true, 320 * time.Millisecond, flow.Deny, 2},
	} {
		s := newStage(t, policy.Protect)
		tt.w.Mode = policy.Protect
		s.policy(1, tt.w, allow(7, 6, 8080, app.HTTP))
		c := newConn(true, 40000, 8080)
		s.give(open(t, c)...)
		s.give(c.seg(t, 0, "A", "G"))
		if tt.more {
			s.now += 100e6
			s.give(c.seg(t, 0, "A", "E"))
			s.now += 100e6
			s.give(c.seg(t, 0, "A", "T"))
		}
		for s.now < begin+int64(tt.at) {
			if n := len(s.q.sent); n != 0 && s.now < begin+int64(tt.at-30*time.Millisecond) {
				t.Errorf("%s: %d frames after %v", tt.name, n, time.Duration(s.now-begin))
			}
			at := s.p.Alarm()
			if at == 0 {
				break
			}
			s.now = max(at, s.now+1) + session.Tick
			s.give()
		}
		s.pass(time.Second, 50*time.Millisecond)
		if len(s.q.sent) != tt.sent {
			t.Errorf("%s: %d frames sent, want %d", tt.name, len(s.q.sent), tt.sent)
		}
		last := s.all[len(s.all)-1]
		if last.Verdict != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, last.Verdict, tt.want)
		}
		if s.p.Alarm() != 0 {
			t.Errorf("%s: an alarm while nothing is held", tt.name)
		}
	}
}

// fragment cuts an IPv4 frame into fragments of n bytes.
func fragment(f packet.Frame, n int) (out []packet.Frame) {
	head, rest := f.Data[:34], f.Data[34:]
	for at := 0; at < len(rest); at += n {
		end := min(at+n, len(rest))
		d := append(append([]byte{}, head...), rest[at:end]...)
		ip := d[14:34]
		binary.BigEndian.PutUint16(ip[2:], uint16(20+end-at))
		binary.BigEndian.PutUint16(ip[4:], 77)
		flags := uint16(at / 8)
		if end < len(rest) {
			flags |= 0x2000
		}
		binary.BigEndian.PutUint16(ip[6:], flags)
		ip[10], ip[11] = 0, 0
		sum := uint32(0)
		for i := 0; i < 20; i += 2 {
			sum += uint32(ip[i])<<8 | uint32(ip[i+1])
		}
		binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
		g := f
		g.Data, g.Wire = d, uint32(len(d))
		out = append(out, g)
	}
	return out
}

// TestFragments are judged whole: what is allowed goes on as it came, what is denied is gone, what overlaps is
// bad and reported.
func TestFragments(t *testing.T) {
	s := newStage(t, policy.Protect)
	s.policy(1, protect(), allow(7, 17, 5000))
	text := string(make([]byte, 3000))
	good, bad := fragment(udp(t, false, 0, 40000, 5000, text), 1480), fragment(udp(t, false, 0, 40001, 5001, text), 1480)
	s.want("allowed", s.give(good...), drop, drop, pass)
	if len(s.q.sent) != 2 || string(s.q.sent[0].Data) != string(good[0].Data) {
		t.Errorf("%d fragments were sent, want the first two as they were", len(s.q.sent))
	}
	s.q.sent = nil
	for i := range bad {
		binary.BigEndian.PutUint16(bad[i].Data[18:], 99)
		bad[i].Data[24], bad[i].Data[25] = 0, 0
		sum := uint32(0)
		for j := 14; j < 34; j += 2 {
			sum += uint32(bad[i].Data[j])<<8 | uint32(bad[i].Data[j+1])
		}
		binary.BigEndian.PutUint16(bad[i].Data[24:], ^uint16(sum+sum>>16))
	}
	s.want("denied", s.give(bad...), drop, drop, drop)
	if len(s.q.sent) != 0 {
		t.Errorf("%d fragments of a denied datagram were sent", len(s.q.sent))
	}
	over := fragment(udp(t, false, 0, 40000, 5000, text), 1480)
	again := over[0]
	again.Data = append([]byte(nil), again.Data...)
	again.Data[60] ^= 0xff
	s.now += 60e9
	s.give(over[0], again)
	if x := s.threats(); len(x) == 0 {
		t.Error("overlapping fragments are no threat")
	}
	s.counted(counter.BadFragments, 1)
}

// TestOddFrames are counted, reported and dropped where they must be.
func TestOddFrames(t *testing.T) {
	s := newStage(t, policy.Protect)
	s.policy(1, protect())
	arp := packet.Frame{Data: append([]byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6}, make([]byte, 28)...), Endpoint: 1, Dir: packet.Egress}
	s.want("ARP", s.give(arp), pass)
	cut := udp(t, false, 0, 1, 2, "x")
	cut.Data = cut.Data[:14+10]
	s.want("a header that is cut", s.give(cut), drop)
	if x := s.threats(); len(x) != 1 || len(x[0].Frame) == 0 && x[0].Text == "" {
		t.Errorf("threats %+v, want the malformed frame", x)
	}
	stranger := udp(t, false, 0, 1, 2, "x")
	stranger.Endpoint = 9
	s.want("a stranger's", s.give(stranger), pass)
	s.counted(counter.NotIP, 1)
	s.counted(counter.Malformed, 1)
	s.counted(counter.UnknownEndpoint, 1)
	s.p.Sessions().Publish()
	m := map[string]uint64{}
	s.p.Sessions().Report().AddCounters(m)
	if m["engine.frames"] != 3 {
		t.Errorf("%d frames are shown, want 3", m["engine.frames"])
	}
}

// TestFullTable has no room for a session: the endpoint's fail mode holds, and nobody is refused by policy.
func TestFullTable(t *testing.T) {
	for _, fail := range []packet.Action{pass, drop} {
		s := newStage(t, policy.Protect, func(c *path.Config, s *stage) { c.Session = session.Config{Max: 2}; s.end.Fail = fail })
		s.policy(1, protect(), allow(7, 6, 8080))
		for i := range uint16(2) {
			s.give(open(t, newConn(true, 40000+i, 8080))...)
		}
		s.want("no room", s.give(newConn(true, 40009, 22).seg(t, 0, "S", "")), fail)
		s.counted(counter.TableFull, 1)
		// One that is over makes room.
		first := &conn{v6: true, cport: 40000, sport: 8080, seq: [2]uint32{1001, 90001}}
		s.give(first.seg(t, 0, "RA", ""))
		s.want("room again", s.give(newConn(true, 40010, 8080).seg(t, 0, "S", "")), pass)
	}
}

// TestRoles are by evidence: a SYN, listening sockets, ports; and an answer whose question went by unseen.
func TestRoles(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		data := func(end int, from, to uint16) packet.Frame {
			return frame(t, v6, end, layers.IPProtocolTCP, &layers.TCP{SrcPort: layers.TCPPort(from), DstPort: layers.TCPPort(to), Seq: 5, Ack: 9, ACK: true, Window: 1000}, "data")
		}
		for _, tt := range []struct {
			name   string
			f      packet.Frame
			server uint16
			dir    packet.Direction
			by     flow.Evidence
		}{
			{"a SYN", newConn(v6, 40000, 50000).seg(t, 0, "S", ""), 50000, packet.Egress, flow.EvidenceHandshake},
			{"a SYN+ACK", newConn(v6, 40001, 50001).seg(t, 1, "SA", ""), 50001, packet.Egress, flow.EvidenceHandshake},
			{"to a listening socket", data(1, 33000, 50051), 50051, packet.Ingress, flow.EvidenceListener},
			{"from a listening socket", data(0, 50051, 33001), 50051, packet.Ingress, flow.EvidenceListener},
			{"to a well-known port", data(0, 40002, 443), 443, packet.Egress, flow.EvidencePort},
			{"from a well-known port", data(1, 444, 40003), 444, packet.Egress, flow.EvidencePort},
			{"from a client's port", data(0, 40004, 5432), 5432, packet.Egress, flow.EvidencePort},
			{"the lower port", data(0, 2000, 1999), 1999, packet.Egress, flow.EvidencePort},
			{"a question", udp(t, v6, 0, 40005, 7000, "x"), 7000, packet.Egress, flow.EvidenceHandshake},
			{"an answer from a well-known port", udp(t, v6, 1, 53, 40006, "x"), 53, packet.Egress, flow.EvidencePort},
		} {
			s := newStage(t, policy.Discover, func(_ *path.Config, s *stage) {
				s.end.Listeners = map[path.Listener]bool{{Proto: 6, Port: 50051}: true}
			})
			s.policy(1, policy.WorkloadSpec{})
			s.give(tt.f)
			s.p.Sessions().End(1)
			s.give()
			if len(s.all) == 0 && tt.f.Data != nil {
				t.Errorf("%s: nothing is reported", tt.name)
				continue
			}
			if r := s.all[0]; r.ServerPort != tt.server || r.Dir != tt.dir || r.Evidence != tt.by {
				t.Errorf("%s: server %d, %v, by %v; want %d, %v, %v", tt.name, r.ServerPort, r.Dir, r.Evidence, tt.server, tt.dir, tt.by)
			}
		}
	})
}

// TestPing follows ICMP echo both ways.
func TestPing(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Discover)
		s.policy(1, policy.WorkloadSpec{})
		echo := func(end int, reply bool) packet.Frame {
			if v6 {
				typ := uint8(128)
				if reply {
					typ = 129
				}
				return frame(t, v6, end, layers.IPProtocolICMPv6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}, "\x00\x07\x00\x01ping")
			}
			typ := uint8(8)
			if reply {
				typ = 0
			}
			return frame(t, v6, end, layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, 0), Id: 7, Seq: 1}, "ping")
		}
		s.give(echo(0, false), echo(1, true))
		s.pass(20*time.Second, time.Second)
		last := s.all[len(s.all)-1]
		if last.Kind != flow.End || !last.Answered || last.Outcome != flow.OutcomeClosed || last.ServerPort != 0 || app.ID(last.App) != app.Unknown || last.Dir != packet.Egress {
			t.Errorf("got %+v", last)
		}
	})
}

// TestICMPErrors follow their session.
func TestICMPErrors(t *testing.T) {
	s := newStage(t, policy.Protect)
	s.policy(1, protect(), allow(7, 17, 5000))
	good, bad := udp(t, false, 0, 40000, 5000, "question"), udp(t, false, 0, 40000, 5001, "question")
	s.want("questions", s.give(good, bad), pass, drop)
	about := func(f packet.Frame, code uint8) packet.Frame {
		return frame(t, false, 1, layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, code)}, string(f.Data[14:]))
	}
	s.want("errors", s.give(about(good, 4), about(bad, 3), about(udp(t, false, 0, 1, 2, "never sent"), 3)), pass, drop, drop)
	s.give(about(good, 3))
	s.pass(time.Minute, time.Second)
	var last flow.Record
	for _, f := range s.all {
		if f.ServerPort == 5000 {
			last = f
		}
	}
	if last.Outcome != flow.OutcomeRefused || last.Verdict != flow.Allow {
		t.Errorf("%v, %v: want it allowed, and refused by the peer", last.Verdict, last.Outcome)
	}
	s.counted(counter.ICMPErrors, 3)
}

// TestRejects are bounded in each second.
func TestRejects(t *testing.T) {
	s := newStage(t, policy.Protect)
	w := protect()
	w.OnDeny = policy.Reject
	s.policy(1, w)
	for i := range uint16(1200) {
		s.give(udp(t, true, 0, 2000+i, 5001, "x"))
	}
	if n := len(s.q.sent); n != 1000 {
		t.Errorf("%d ICMP errors in a second, want 1000", n)
	}
	s.now += 1e9
	s.give(udp(t, true, 0, 2000, 5001, "x"))
	s.counted(counter.Unreachables, 1001)
}

// elsewhere is a detect.Remote that decides when it is asked to.
type elsewhere struct {
	owner  uint32
	say    *detect.News
	ended  int
	closed int
}

func (e *elsewhere) Remote(func()) detect.Remote                   { return e }
func (e *elsewhere) Open(_ *parsers.Meta, o uint32) (uint64, bool) { e.owner = o; return 1, false }
func (*elsewhere) Data(uint64, parsers.Dir, []byte)                {}
func (*elsewhere) Gap(uint64, parsers.Dir, int)                    {}
func (e *elsewhere) End(uint64)                                    { e.ended++ }
func (e *elsewhere) Close(uint64)                                  { e.closed++ }
func (*elsewhere) Flush()                                          {}
func (*elsewhere) Wait(time.Duration)                              {}
func (*elsewhere) Export(uint64) any                               { return nil }
func (*elsewhere) Adopt(any, uint32) uint64                        { return 0 }
func (*elsewhere) Stop()                                           {}
func (e *elsewhere) Poll(to detect.Answers) {
	if e.say != nil {
		n := *e.say
		e.say = nil
		to.News(e.owner, n)
	}
}

func far(e *elsewhere) option {
	return func(c *path.Config, _ *stage) { c.Identify = identify.Config{Parsers: &parsers.Registry{}, Remote: e} }
}

// TestAnswersFromElsewhere let held packets go, in part or all, or refuse them.
func TestAnswersFromElsewhere(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		e := &elsewhere{}
		s := newStage(t, policy.Protect, far(e))
		w := protect()
		w.HoldDeny, w.Hold = true, time.Minute
		s.policy(1, w, allow(7, 6, 8080, app.HTTP2, app.GRPC))
		c := newConn(v6, 40000, 8080)
		s.give(open(t, c)...)
		s.want("held", s.give(c.seg(t, 0, "A", "preface"), c.seg(t, 0, "A", "request")), drop, drop)
		e.say = &detect.News{Outcome: detect.Preamble, Seen: 1}
		s.give()
		if len(s.q.sent) != 1 {
			t.Fatalf("%d packets were let go, want the one that the answer knows of", len(s.q.sent))
		}
		left := detect.Left{Known: true}
		left.Add(app.Redis)
		e.say = &detect.News{Left: left}
		s.give()
		if e.ended != 1 {
			t.Error("what can only be denied is waited for")
		}
		e.say = &detect.News{Outcome: detect.Decided, App: app.Redis, Base: app.Redis, Ended: true}
		s.give()
		if n := len(s.q.sent); n != 3 {
			t.Errorf("%d frames sent, want two resets more", n)
		}
		if last := s.all[len(s.all)-1]; last.Verdict != flow.Deny || last.Outcome != flow.OutcomeDenied || app.ID(last.App) != app.Redis {
			t.Errorf("reported as %+v", last)
		}
	})
}

// TestLostElsewhere ends sessions that wait for an answer, which comes never: they follow the fail mode.
func TestLostElsewhere(t *testing.T) {
	e := &elsewhere{}
	s := newStage(t, policy.Protect, far(e))
	s.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
	c := newConn(true, 40000, 8080)
	s.give(append(open(t, c), c.seg(t, 0, "A", "bytes"))...)
	s.give(c.seg(t, 0, "FA", ""), c.seg(t, 1, "FA", ""), c.seg(t, 0, "A", ""))
	s.pass(3*time.Second, 20*time.Millisecond)
	last := s.all[len(s.all)-1]
	if last.Kind != flow.End || app.ID(last.App) != app.Unknown || last.Reason != flow.ByUnidentified || last.Verdict != flow.Allow {
		t.Errorf("got %+v, want it unknown and allowed by its fail mode", last)
	}
	s.counted(counter.Unanswered, 1)
	// All at once: what waits is ended, and answered or not.
	d := newConn(true, 40001, 8080)
	s.give(append(open(t, d), d.seg(t, 0, "A", "bytes"))...)
	s.p.Sessions().Close()
	if got := s.shared.Tallies.List(); len(got) != 1 || got[0].Sessions != 0 || got[0].Opened != 2 {
		t.Errorf("counted %+v, want what the path counted, with no session left", got)
	}
}

// TestMoves takes sessions to another path: one with a name, one half identified, one whose packets are held.
func TestMoves(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		from := newStage(t, policy.Protect)
		from.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
		named, half := newConn(v6, 40000, 8080), newConn(v6, 40001, 8080)
		from.give(append(open(t, named), named.seg(t, 0, "A", request))...)
		from.give(append(open(t, half), half.seg(t, 0, "A", request[:7]))...)
		if !from.p.Holding(1) {
			t.Error("nothing is held")
		}
		to := newStage(t, policy.Protect)
		to.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
		to.p.Gate().Shadow(1, true)
		to.want("beside", to.give(named.seg(t, 1, "A", "answer")), pass)
		kept := to.p.Adopt(1, from.p.Export(1))
		to.p.Replay(kept, begin)
		if len(from.q.sent) != 1 || from.p.Holding(1) {
			t.Errorf("%d held packets went on, want one", len(from.q.sent))
		}
		from.want("afterwards at the old one", from.give(named.seg(t, 0, "A", "x")), pass)
		from.p.Gate().Expect(1, packet.Egress, begin+1e9)
		from.want("late ones", from.give(newConn(v6, 40002, 22).seg(t, 0, "S", ""), newConn(v6, 40003, 8080).seg(t, 0, "S", "")), drop, pass)
		to.want("the rest of a request", to.give(half.seg(t, 0, "A", request[7:])), pass)
		to.p.Gate().Skim(1, packet.Egress)
		to.want("judged before", to.give(newConn(v6, 40004, 22).seg(t, 0, "S", "")), pass)
		to.p.Gate().EndSkim(1)
		to.p.Sessions().End(1)
		to.give()
		apps := map[uint16]app.ID{}
		var packets uint64
		for _, f := range to.all {
			apps[f.ClientPort] = app.ID(f.App)
			packets += f.Packets[0] + f.Packets[1]
		}
		if len(apps) != 2 || apps[40000] != app.HTTP || apps[40001] != app.HTTP {
			t.Errorf("reported %v", apps)
		}
		if got := to.shared.Tallies.List(); len(got) != 1 || got[0].Sessions != 0 {
			t.Errorf("counted %+v", got)
		}
	})
}

// TestDropHeld leaves nothing to go on unjudged.
func TestDropHeld(t *testing.T) {
	s := newStage(t, policy.Protect)
	s.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
	c := newConn(false, 40000, 8080)
	s.give(append(open(t, c), c.seg(t, 0, "A", "G"))...)
	s.p.Sessions().DropHeld(1)
	if s.p.Holding(1) || len(s.q.sent) != 0 {
		t.Errorf("holding %v, %d sent", s.p.Holding(1), len(s.q.sent))
	}
	s.counted(counter.HeldAtSwitch, 1)
}

// TestRedirects have their real destination looked up, on lo.
func TestRedirects(t *testing.T) {
	for _, known := range []bool{true, false} {
		for _, fail := range []packet.Action{pass, drop} {
			o := &origin{known: known}
			s := newStage(t, policy.Protect, func(c *path.Config, s *stage) {
				c.Queue, s.q = o, &o.queue
				s.end.Loopback, s.end.Fail, s.end.Mesh = true, fail, sidecar.NewMesh()
			})
			s.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
			c := newConn(false, 40000, 15001)
			frames := append(open(t, c), c.seg(t, 0, "A", request))
			for i := range frames { // to the sidecar, at 127.0.0.1
				at := 30
				if frames[i].Dir == packet.Ingress {
					at = 26
				}
				copy(frames[i].Data[at:], []byte{127, 0, 0, 1})
				frames[i].Flags |= packet.PartialChecksum
				ip := frames[i].Data[14:34]
				ip[10], ip[11] = 0, 0
				sum := uint32(0)
				for j := 0; j < 20; j += 2 {
					sum += uint32(ip[j])<<8 | uint32(ip[j+1])
				}
				binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
			}
			got := s.give(frames...)
			want := pass
			if !known {
				want = fail
			}
			if got[3] != want {
				t.Errorf("known %v, fail mode %v: %v, want %v", known, fail, got, want)
			}
			s.p.Sessions().End(1)
			s.give()
			if last := s.all[len(s.all)-1]; known && (last.ServerPort != 8080 || last.Rule != 7 || !last.Loopback) {
				t.Errorf("reported as %+v, want its real destination", last)
			}
		}
	}
}

// TestSweep judges idle sessions by a new policy, and those that are over by none.
func TestSweep(t *testing.T) {
	s := newStage(t, policy.Protect)
	s.policy(1, protect(), allow(7, 6, 8080))
	open8080, over := newConn(true, 40000, 8080), newConn(true, 40001, 8080)
	s.give(append(open(t, open8080), open(t, over)...)...)
	s.give(over.seg(t, 0, "RA", ""))
	s.pass(300*time.Millisecond, 50*time.Millisecond)
	s.all = nil
	s.policy(2, protect())
	s.give()
	for _, f := range s.all {
		if f.ClientPort == 40001 && f.Verdict == flow.Deny {
			t.Errorf("what was over is denied: %+v", f)
		}
	}
	if len(s.all) != 1 || s.all[0].Verdict != flow.Deny || s.all[0].Outcome != flow.OutcomeEstablished || s.all[0].Policy != 2 {
		t.Fatalf("got %+v, want the open one denied, and nothing of it refused yet", s.all)
	}
	s.want("its next packet", s.give(open8080.seg(t, 0, "A", "x")), drop)
	if last := s.all[len(s.all)-1]; last.Outcome != flow.OutcomeDenied {
		t.Errorf("after it was refused: %v", last.Outcome)
	}
}

// TestUnready has no policy yet.
func TestUnready(t *testing.T) {
	s := newStage(t, policy.Protect)
	c := newConn(true, 40000, 8080)
	s.give(append(open(t, c), c.seg(t, 0, "A", request))...)
	s.p.Sessions().End(1)
	s.give()
	if last := s.all[len(s.all)-1]; last.Verdict != flow.Open || last.Reason != flow.ByUnready {
		t.Errorf("%v by %v", last.Verdict, last.Reason)
	}
	s.give(c.seg(t, 0, "RA", ""))
	s.counted(counter.Sessionless, 1)
}

// TestOverlapAndGap are seen in a stream that is being identified.
func TestOverlapAndGap(t *testing.T) {
	s := newStage(t, policy.Discover)
	s.policy(1, policy.WorkloadSpec{})
	c := newConn(true, 40000, 8080)
	s.give(open(t, c)...)
	before := c.seq
	s.give(c.seg(t, 0, "A", "GE"))
	c.seq = before
	s.give(c.seg(t, 0, "A", "PO"))
	if x := s.threats(); len(x) != 1 || x[0].Session == 0 {
		t.Errorf("%d threats, want the overlap, of its session", len(x))
	}
	c.seq[0] += 100 // lost on the way to the tap
	s.give(c.seg(t, 1, "A", ""), c.seg(t, 0, "A", "more"))
	s.p.Sessions().End(1)
	s.give()
	if last := s.all[len(s.all)-1]; app.ID(last.App) != app.Unknown {
		t.Errorf("what was lost in part is %v", app.ID(last.App))
	}
}

var (
	_ backend.Holder = (*holder)(nil)
	_ backend.Origin = (*origin)(nil)
)
