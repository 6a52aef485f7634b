package role_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/role"
)

const (
	tcp, udp, sctp = packet.ProtoTCP, packet.ProtoUDP, packet.ProtoSCTP
	out, in        = packet.Egress, packet.Ingress
)

// ends are the workload and its peer, of both families.
var ends = map[string][2]packet.Addr{
	"ipv4": {addr("10.0.0.1"), addr("10.0.0.2")},
	"ipv6": {addr("fd00::1"), addr("fd00::2")},
}

func addr(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

// packetOf is a packet between the workload's port near and its peer's port far.
func packetOf(e [2]packet.Addr, proto, flags uint8, dir packet.Direction, near, far uint16) *packet.Packet {
	p := &packet.Packet{Proto: proto, Flags: flags, Src: e[0], Dst: e[1], SrcPort: near, DstPort: far}
	if dir == in {
		p.Src, p.Dst, p.SrcPort, p.DstPort = e[1], e[0], far, near
	}
	return p
}

func listening(proto uint8, ports ...uint16) map[role.Port]bool {
	m := map[role.Port]bool{}
	for _, n := range ports {
		m[role.Port{Proto: proto, Port: n}] = true
	}
	return m
}

// remembered is a memory of one session in which the workload's side was this.
func remembered(seed role.Seed, t role.Tuple, side role.Side) *role.Memory {
	h, lower := seed.Hash(&t)
	return &role.Memory{LowerIsClient: map[uint64]bool{h: lower == (side == role.Client)}}
}

// TestHandshake: a handshake decides whatever else is known.
func TestHandshake(t *testing.T) {
	for family, e := range ends {
		contradicts := role.Context{Sockets: &role.Sockets{Complete: true, Listening: listening(tcp, 40000)}, Recent: true, Unseen: true}
		for _, c := range []struct {
			name   string
			p      *packet.Packet
			client bool
		}{
			{"SYN", packetOf(e, tcp, packet.SYN, out, 40000, 80), true},
			{"SYN to a high port", packetOf(e, tcp, packet.SYN, out, 80, 50051), true},
			{"SYN+ACK", packetOf(e, tcp, packet.SYN|packet.ACK, in, 40000, 80), false},
			{"echo request", &packet.Packet{Proto: packet.ProtoICMP, ICMPType: 8}, true},
			{"echo reply", &packet.Packet{Proto: packet.ProtoICMP, ICMPType: 0}, false},
			{"echo request of IPv6", &packet.Packet{Proto: packet.ProtoICMPv6, ICMPType: 128}, true},
			{"echo reply of IPv6", &packet.Packet{Proto: packet.ProtoICMPv6, ICMPType: 129}, false},
		} {
			got := contradicts.Opening(c.p, out)
			if want := (role.Claim{FromSource: c.client, Firm: true, Evidence: flow.EvidenceHandshake}); got != want {
				t.Errorf("%s, %s: got %+v, want %+v", family, c.name, got, want)
			}
		}
	}
}

// TestMidstream has sessions whose beginning was not seen; each is judged by a packet of
// either direction, with the same outcome.
func TestMidstream(t *testing.T) {
	const seed = role.Seed(77)
	type want struct {
		side     role.Side
		evidence flow.Evidence
		firm     bool
	}
	port, listener, memory := flow.EvidencePort, flow.EvidenceListener, flow.EvidenceMemory
	for _, c := range []struct {
		name      string
		proto     uint8
		near, far uint16
		sockets   *role.Sockets
		before    role.Side
		want      want
	}{
		{"by ports, server", tcp, 443, 40000, nil, 0, want{role.Server, port, false}},
		{"by ports, client", tcp, 8080, 443, nil, 0, want{role.Client, port, false}},
		{"between high ports the lower", tcp, 50051, 40000, nil, 0, want{role.Client, port, false}},
		{"listens", tcp, 50051, 40000, &role.Sockets{Listening: listening(tcp, 50051)}, 0, want{role.Server, listener, true}},
		{"listens on another port", tcp, 40000, 50051, &role.Sockets{Listening: listening(tcp, 8080)}, 0, want{role.Server, port, false}},
		{"does not listen", tcp, 40000, 50051, &role.Sockets{Complete: true, Listening: listening(tcp, 8080)}, 0, want{role.Client, listener, false}},
		{"does not listen, ports contradict", tcp, 20000, 50051, &role.Sockets{Complete: true}, 0, want{role.Client, port, false}},
		{"listens for datagrams only", tcp, 40000, 50051, &role.Sockets{Complete: true, Listening: listening(udp, 40000)}, 0, want{role.Client, listener, false}},
		{"was served at the beginning", tcp, 50051, 40000, &role.Sockets{Complete: true, Live: map[role.Tuple]role.Side{}}, 0, want{role.Server, listener, true}},
		{"remembered", tcp, 40000, 50051, nil, role.Client, want{role.Client, memory, false}},
		{"remembered against ports", tcp, 20000, 50051, nil, role.Client, want{role.Client, memory, false}},
		{"remembered, listening socket closed since", tcp, 50051, 40000, &role.Sockets{Complete: true}, role.Server, want{role.Server, memory, false}},
		{"remembered and listens", tcp, 50051, 40000, &role.Sockets{Listening: listening(tcp, 50051)}, role.Server, want{role.Server, listener, true}},
		{"remembered as another than listens", tcp, 50051, 80, &role.Sockets{Listening: listening(tcp, 50051)}, role.Client, want{role.Client, memory, false}},

		{"udp by ports", udp, 53, 40000, nil, 0, want{role.Server, port, false}},
		{"udp served", udp, 5060, 40000, &role.Sockets{Listening: listening(udp, 5060)}, 0, want{role.Server, listener, true}},
		{"udp served, peer is a service", udp, 5060, 53, &role.Sockets{Complete: true, Listening: listening(udp, 5060)}, 0, want{role.Client, port, false}},
		{"udp of a high port, which may serve all the same", udp, 40000, 8125, &role.Sockets{Complete: true}, 0, want{role.Client, port, false}},
		{"udp remembered against sockets", udp, 5000, 50051, &role.Sockets{Complete: true, Listening: listening(udp, 5000)}, role.Client, want{role.Client, memory, false}},
		{"udp between equals, remembered", udp, 5000, 5000, &role.Sockets{Complete: true, Listening: listening(udp, 5000)}, role.Server, want{role.Server, memory, false}},
		{"sctp listens", sctp, 3868, 40000, &role.Sockets{Complete: true, Listening: listening(sctp, 3868)}, 0, want{role.Server, listener, true}},
	} {
		for family, e := range ends {
			tuple := role.Tuple{Local: e[0], Remote: e[1], LocalPort: c.near, RemotePort: c.far, Proto: c.proto}
			ctx := role.Context{Sockets: c.sockets, Seed: seed, Recent: true, Unseen: true}
			if c.sockets != nil && c.sockets.Live != nil {
				ctx.Sockets = &role.Sockets{Complete: true, Live: map[role.Tuple]role.Side{tuple: role.Server}}
			}
			if c.before != role.Unknown {
				ctx.Memory = remembered(seed, tuple, c.before)
			}
			for _, dir := range []packet.Direction{out, in} {
				got := ctx.Opening(packetOf(e, c.proto, packet.ACK, dir, c.near, c.far), dir)
				want := role.Claim{FromSource: (c.want.side == role.Client) == (dir == out), Midstream: true, Firm: c.want.firm, Evidence: c.want.evidence}
				if got != want {
					t.Errorf("%s, %s, %s: got %+v, want %+v", c.name, family, dir, got, want)
				}
			}
		}
	}
}

// TestDatagrams: which first datagram is proof of the client, and which is not.
func TestDatagrams(t *testing.T) {
	complete := &role.Sockets{Complete: true, Old: map[uint16]bool{5000: true}, Listening: listening(udp, 5000, 9999)}
	for _, c := range []struct {
		name      string
		ctx       role.Context
		dir       packet.Direction
		near, far uint16
		want      role.Claim
	}{
		{"watched for long", role.Context{}, out, 5000, 5000, role.Claim{FromSource: true, Firm: true, Evidence: flow.EvidenceHandshake}},
		{"watched for long, to the workload", role.Context{}, in, 5000, 50051, role.Claim{FromSource: true, Firm: true, Evidence: flow.EvidenceHandshake}},
		{"an answer from a system port", role.Context{}, in, 40000, 53, role.Claim{Midstream: true, Evidence: flow.EvidencePort}},
		{"from a system port to a service", role.Context{Sockets: complete}, in, 9999, 53, role.Claim{FromSource: true, Firm: true, Evidence: flow.EvidenceHandshake}},
		{"recent, sockets not known", role.Context{Recent: true}, out, 5000, 5000, role.Claim{FromSource: true, Midstream: true, Evidence: flow.EvidencePort}},
		{"recent, bound before", role.Context{Recent: true, Sockets: complete}, in, 5000, 5000, role.Claim{FromSource: true, Midstream: true, Evidence: flow.EvidencePort}},
		{"recent, bound since", role.Context{Recent: true, Sockets: complete}, out, 7000, 5000, role.Claim{FromSource: true, Firm: true, Evidence: flow.EvidenceHandshake}},
		{"recent, bound since, but the list has holes", role.Context{Recent: true, Sockets: &role.Sockets{}}, out, 7000, 5000, role.Claim{FromSource: true, Midstream: true, Evidence: flow.EvidencePort}},
		{"bound since the list, which was read before anything was seen", role.Context{Recent: true, Sockets: &role.Sockets{Early: true, Complete: true}}, in, 33414, 7007, role.Claim{Midstream: true, Evidence: flow.EvidencePort}},
		{"bound since, but frames went by", role.Context{Recent: true, Unseen: true, Sockets: complete}, out, 7000, 5000, role.Claim{FromSource: true, Midstream: true, Evidence: flow.EvidencePort}},
		{"connected at the beginning", role.Context{Recent: true, Sockets: &role.Sockets{Complete: true, Old: map[uint16]bool{5000: true},
			Live: map[role.Tuple]role.Side{{Local: ends["ipv4"][0], Remote: ends["ipv4"][1], LocalPort: 5000, RemotePort: 5000, Proto: udp}: role.Client}}},
			in, 5000, 5000, role.Claim{Midstream: true, Evidence: flow.EvidenceListener}},
		{"no direction", role.Context{Recent: true, Sockets: complete}, packet.NoDirection, 7000, 53, role.Claim{FromSource: true, Midstream: true, Evidence: flow.EvidencePort}},
	} {
		if got := c.ctx.Opening(packetOf(ends["ipv4"], udp, 0, c.dir, c.near, c.far), c.dir); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestRaises(t *testing.T) {
	port, memory, listener, handshake := flow.EvidencePort, flow.EvidenceMemory, flow.EvidenceListener, flow.EvidenceHandshake
	for _, c := range []struct {
		f    role.Finding
		now  flow.Evidence
		firm bool
		want bool
	}{
		{role.Finding{Side: role.Server, Evidence: listener, Firm: true}, port, false, true},
		{role.Finding{Side: role.Server, Evidence: listener, Firm: true}, listener, false, true}, // a port that is served beats one that is not
		{role.Finding{Side: role.Server, Evidence: flow.EvidenceProtocol, Firm: true}, listener, false, true},
		{role.Finding{Side: role.Server, Evidence: listener, Firm: true}, handshake, true, false},
		{role.Finding{Side: role.Client, Evidence: listener}, handshake, true, false},
		{role.Finding{Side: role.Client, Evidence: listener}, memory, false, true},
		{role.Finding{Side: role.Client, Evidence: port}, port, false, false},
		{role.Finding{Evidence: listener, Firm: true}, port, false, false},
	} {
		if got := c.f.Raises(c.now, c.firm); got != c.want {
			t.Errorf("%+v against %v, firm %v: got %v, want %v", c.f, c.now, c.firm, got, c.want)
		}
	}
}

func TestSame(t *testing.T) {
	full := func() *role.Sockets {
		return &role.Sockets{Complete: true, Listening: listening(tcp, 80), Old: map[uint16]bool{53: true}, Live: map[role.Tuple]role.Side{{LocalPort: 1}: role.Client}}
	}
	var none *role.Sockets
	if !none.Same(nil) || !none.Equal(nil) || none.Same(full()) || full().Same(nil) || !full().Same(full()) || !full().Equal(full()) {
		t.Error("a list is not the same as itself, or as none")
	}
	old, live, listening, whole, early := full(), full(), full(), full(), full()
	early.Early = true
	old.Old, live.Live, listening.Listening, whole.Complete = nil, nil, nil, false
	for _, o := range []*role.Sockets{old, live, early} {
		if !full().Same(o) || full().Equal(o) {
			t.Errorf("%+v serves the same ports, and is not equal", o)
		}
	}
	for _, o := range []*role.Sockets{listening, whole} {
		if full().Same(o) || full().Equal(o) {
			t.Errorf("%+v is not the same", o)
		}
	}
}

// FuzzOpening: whatever packet opens a session, both of its directions give the same client
// unless a handshake or first datagram decides, nothing panics, and what refuses is never based on a
// guess.
func FuzzOpening(f *testing.F) {
	f.Add([]byte{6, 16, 1, 2, 3, 4}, uint8(0))
	f.Add([]byte{17, 0, 0x13, 0x88, 0x13, 0x88}, uint8(255))
	f.Fuzz(func(t *testing.T, b []byte, known uint8) {
		if len(b) < 6 {
			return
		}
		near, far := binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint16(b[4:])
		e := ends["ipv6"]
		tuple := role.Tuple{Local: e[0], Remote: e[1], LocalPort: near, RemotePort: far, Proto: b[0]}
		ctx := role.Context{Recent: known&1 != 0, Unseen: known&2 != 0}
		if known&4 != 0 {
			ctx.Sockets = &role.Sockets{Complete: known&8 != 0, Listening: map[role.Port]bool{{Proto: b[0], Port: near}: known&16 != 0}, Old: map[uint16]bool{near: known&32 != 0}}
		}
		if known&64 != 0 {
			ctx.Memory = remembered(0, tuple, role.Client+role.Side(known>>7))
		}
		going := ctx.Opening(packetOf(e, b[0], b[1], out, near, far), out)
		coming := ctx.Opening(packetOf(e, b[0], b[1], in, near, far), in)
		for _, c := range []role.Claim{going, coming} {
			if c.Firm && c.Evidence.Guessed() {
				t.Errorf("a guess is called firm: %+v", c)
			}
		}
		if going.Midstream && coming.Midstream && going.FromSource == coming.FromSource && near != far && b[0] == tcp {
			t.Errorf("each direction has a client of its own: %+v, %+v", going, coming)
		}
	})
}

func BenchmarkOpening(b *testing.B) {
	e := ends["ipv6"]
	ctx := role.Context{Sockets: &role.Sockets{Complete: true, Listening: listening(tcp, 80, 443)}, Memory: &role.Memory{LowerIsClient: map[uint64]bool{1: true}}}
	p := packetOf(e, tcp, packet.ACK, out, 40000, 50051)
	b.ReportAllocs()
	for b.Loop() {
		ctx.Opening(p, out)
	}
}

func TestOpeningAllocatesNothing(t *testing.T) {
	ctx := role.Context{Sockets: &role.Sockets{Complete: true, Listening: listening(tcp, 80)}, Memory: &role.Memory{LowerIsClient: map[uint64]bool{}}}
	p := packetOf(ends["ipv6"], tcp, packet.ACK, out, 40000, 50051)
	if n := testing.AllocsPerRun(100, func() { ctx.Opening(p, out) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
