package path_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/threat"
)

// piece is the fragment of a frame, of either family, with data at an offset of its datagram.
func piece(f packet.Frame, v6 bool, id uint16, at int, data []byte, more bool) packet.Frame {
	var b []byte
	if v6 {
		b = append(b, f.Data[:54]...)
		b = append(b, f.Data[20], 0, byte(at>>8), byte(at), 0, 0, byte(id>>8), byte(id))
		b[20] = 44
		if more {
			b[57] |= 1
		}
		b = append(b, data...)
		binary.BigEndian.PutUint16(b[18:], uint16(len(b)-54))
	} else {
		b = append(b, f.Data[:34]...)
		b = append(b, data...)
		binary.BigEndian.PutUint16(b[16:], uint16(len(b)-14))
		binary.BigEndian.PutUint16(b[18:], id)
		binary.BigEndian.PutUint16(b[20:], uint16(at/8))
		if more {
			b[20] |= 0x20
		}
		b[24], b[25] = 0, 0
		binary.BigEndian.PutUint16(b[24:], packet.Checksum(b[14:34], 0))
	}
	f.Data, f.Wire = b, uint32(len(b))
	return f
}

// pieces is a frame cut into fragments of n bytes of data.
func pieces(f packet.Frame, v6 bool, id uint16, n int) (out []packet.Frame) {
	data := f.Data[34:]
	if v6 {
		data = f.Data[54:]
	}
	for at := 0; at < len(data); at += n {
		end := min(at+n, len(data))
		out = append(out, piece(f, v6, id, at, data[at:end], end < len(data)))
	}
	return out
}

// TestFragmentsInAnyOrder: three fragments in all six orders, allowed and denied, of both families: what came before the last continues behind
// the verdict, in the order of its coming, and copies follow it.
func TestFragmentsInAnyOrder(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, 17, 5000))
		for i, order := range [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
			for port, want := range map[uint16]packet.Action{5000: pass, 5001: drop} {
				parts := pieces(udp(t, v6, 0, 40000, port, string(make([]byte, 3000))), v6, uint16(i)<<4|port&1, 1200)
				a, b, c := parts[order[0]], parts[order[1]], parts[order[2]]
				s.q.sent = nil
				s.want("in order", s.give(a, b, c), drop, drop, want)
				if want == drop {
					if len(s.q.sent) != 0 {
						t.Errorf("order %v: %d fragments of a denied datagram were sent", order, len(s.q.sent))
					}
				} else if len(s.q.sent) != 2 || !bytes.Equal(s.q.sent[0].Data, a.Data) || !bytes.Equal(s.q.sent[1].Data, b.Data) {
					t.Errorf("order %v: %d fragments were sent, want the first two as they came", order, len(s.q.sent))
				}
				s.want("copies", s.give(parts...), want, want, want)
			}
		}
	})
}

// TestFragmentThreats: what no sender's fragments do is reported by its name; what only our bounds or the capture did is not.
func TestFragmentThreats(t *testing.T) {
	data := make([]byte, 4000)
	for i := range data {
		data[i] = byte(i)
	}
	type part struct {
		at, from, to int
		more         bool
	}
	for _, c := range []struct {
		name  string
		parts []part
		want  uint16
	}{
		{"teardrop", []part{{0, 0, 800, true}, {400, 800, 1200, false}}, threat.Teardrop},
		{"same place, other bytes", []part{{800, 0, 80, true}, {800, 80, 160, true}}, threat.Teardrop},
		{"ping of death", []part{{0, 0, 800, true}, {65528, 0, 800, false}}, threat.PingOfDeath},
		{"empty", []part{{0, 0, 800, true}, {800, 0, 0, false}}, threat.BadPacket},
		{"behind the end", []part{{80, 0, 80, false}, {800, 0, 80, true}}, threat.BadPacket},
		{"two ends", []part{{80, 0, 80, false}, {800, 0, 80, false}}, threat.BadPacket},
		{"odd length", []part{{0, 0, 801, true}, {808, 0, 80, false}}, threat.BadPacket},
		{"nothing wrong yet", []part{{0, 0, 800, true}, {1600, 0, 800, false}}, 0},
	} {
		both(t, func(t *testing.T, v6 bool) {
			s := newStage(t, policy.Protect)
			s.policy(1, protect(), allow(7, 17, 5000))
			f := udp(t, v6, 0, 40000, 5000, "x")
			for _, p := range c.parts {
				s.want(c.name, s.give(piece(f, v6, 5, p.at, data[p.from:p.to], p.more)), drop)
			}
			got := s.threats()
			if c.want == 0 {
				if len(got) != 0 {
					t.Errorf("%s: got %+v", c.name, got)
				}
				return
			}
			if len(got) != 1 || got[0].ID != c.want || got[0].Endpoint != 1 || got[0].IPv6 != v6 || len(got[0].Frame) == 0 {
				t.Errorf("%s: got %+v, want %d", c.name, got, c.want)
			}
			s.counted(counter.BadFragments, 1)
			s.want(c.name+", afterwards", s.give(piece(f, v6, 5, 0, data[:80], true)), drop)
		})
	}
}

// TestRebuiltIsMalformed: a datagram whose header is wrong only as a whole is dropped and reported as a whole frame would be.
func TestRebuiltIsMalformed(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, 17, 5000))
		f := udp(t, v6, 0, 40000, 5000, string(make([]byte, 600)))
		head := 34
		if v6 {
			head = 54
		}
		binary.BigEndian.PutUint16(f.Data[head+4:], 60000) // UDP length
		s.want("the whole", s.give(f), drop)
		s.threats()
		s.now += 60e9 // the same threat is reported from time to time only
		s.want("its fragments", s.give(pieces(f, v6, 9, 304)...), drop, drop)
		if got := s.threats(); len(got) != 1 || got[0].ID != threat.BadPacket || got[0].Text != string(packet.BadUDPLength) {
			t.Errorf("got %+v", got)
		}
		s.counted(counter.Malformed, 2)
		s.want("copies", s.give(pieces(f, v6, 9, 304)...), drop, drop)
		if len(s.q.sent) != 0 {
			t.Errorf("%d fragments were sent", len(s.q.sent))
		}
	})
}

// TestFragmentsNeverWhole: what stays incomplete was held, is never sent, and its place is free after the timeout of its family.
func TestFragmentsNeverWhole(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, 17, 5000))
		parts := pieces(udp(t, v6, 0, 40000, 5000, string(make([]byte, 3000))), v6, 3, 1200)
		s.want("two of three", s.give(parts[0], parts[1]), drop, drop)
		s.pass(2*time.Minute, 5*time.Second)
		s.want("the third, too late", s.give(parts[2]), drop)
		if len(s.q.sent) != 0 || len(s.all) != 0 {
			t.Errorf("%d frames sent, %d records", len(s.q.sent), len(s.all))
		}
		s.want("all, again", s.give(parts[0], parts[1]), drop, pass)
	})
}

// TestTapFragments: an endpoint that is listened to keeps no frames; its datagrams are recorded once, as one packet.
func TestTapFragments(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Discover)
		s.policy(1, policy.WorkloadSpec{Mode: policy.Discover})
		s.give(pieces(udp(t, v6, 0, 40000, 5000, string(make([]byte, 3000))), v6, 3, 1200)...)
		s.p.Sessions().Close()
		s.give()
		if len(s.q.sent) != 0 || len(s.all) == 0 {
			t.Fatalf("%d frames sent, %d records", len(s.q.sent), len(s.all))
		}
		if last := s.all[len(s.all)-1]; last.ServerPort != 5000 || last.IPv6 != v6 {
			t.Errorf("got %+v", last)
		}
	})
}

// wrapped is f inside GRE, from the workload.
func wrapped(t *testing.T, v6 bool, f packet.Frame) packet.Frame {
	t.Helper()
	kind := layers.EthernetType(binary.BigEndian.Uint16(f.Data[12:]))
	return frame(t, v6, 0, layers.IPProtocolGRE, &layers.GRE{Protocol: kind}, string(f.Data[14:]))
}

// TestTunnelsOfCaptures: in a capture what a tunnel carries is recorded, in either family over either, whole or in fragments; a live path
// records the tunnel.
func TestTunnelsOfCaptures(t *testing.T) {
	for _, capture := range []bool{false, true} {
		for family := range 4 {
			over6, v6 := family&1 != 0, family&2 != 0
			s := newStage(t, policy.Discover, func(c *path.Config, _ *stage) { c.Capture = capture })
			s.policy(1, policy.WorkloadSpec{Mode: policy.Discover})
			s.give(wrapped(t, over6, udp(t, v6, 0, 40000, 5000, "one")))
			for _, p := range pieces(udp(t, v6, 0, 40001, 5001, string(make([]byte, 600))), v6, 4, 304) {
				s.give(wrapped(t, over6, p))
			}
			s.p.Sessions().Close()
			s.give()
			ports := map[uint16]bool{}
			for _, f := range s.all {
				if capture != (f.Proto == packet.ProtoUDP) || capture && f.IPv6 != v6 {
					t.Errorf("capture %v, IPv6 %v over %v: got %+v", capture, v6, over6, f)
				}
				ports[f.ServerPort] = true
			}
			if len(s.all) == 0 || capture && (!ports[5000] || !ports[5001]) {
				t.Errorf("capture %v, IPv6 %v over %v: got servers %v", capture, v6, over6, ports)
			}
		}
	}
}

// TestTunnelDepth: four tunnels, one inside the other, are opened; a fifth is recorded as a tunnel.
func TestTunnelDepth(t *testing.T) {
	for depth := range 7 {
		s := newStage(t, policy.Discover, func(c *path.Config, _ *stage) { c.Capture = true })
		s.policy(1, policy.WorkloadSpec{Mode: policy.Discover})
		f := udp(t, false, 0, 40000, 5000, "deep inside")
		for i := range depth {
			f = wrapped(t, i%2 == 0, f)
		}
		s.give(f)
		s.p.Sessions().Close()
		s.give()
		want := uint8(packet.ProtoUDP)
		if depth > 4 {
			want = uint8(layers.IPProtocolGRE)
		}
		if len(s.all) == 0 || s.all[0].Proto != want {
			t.Errorf("%d tunnels: got %+v, want protocol %d", depth, s.all, want)
		}
	}
}

// TestICMPErrorsBothFamilies: an error goes where the packet it quotes came from, if that packet passed; one about a refused flow, or about
// none, is refused; however short the quote is, nothing else becomes of it.
func TestICMPErrorsBothFamilies(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, 17, 5000))
		good, bad := udp(t, v6, 0, 40000, 5000, "question"), udp(t, v6, 0, 40000, 5001, "question")
		never := udp(t, v6, 0, 40009, 5000, "never sent")
		s.want("questions", s.give(good, bad), pass, drop)
		about := func(quote []byte) packet.Frame {
			if v6 {
				return frame(t, true, 1, layers.IPProtocolICMPv6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(2, 0)}, "\x00\x00\x05\x00"+string(quote))
			}
			return frame(t, false, 1, layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4)}, string(quote))
		}
		ports := 24 // IP header and ports
		if v6 {
			ports = 44
		}
		for n := range len(good.Data) - 13 {
			want := drop
			if n >= ports {
				want = pass
			}
			if got := s.give(about(good.Data[14 : 14+n]))[0]; got != want {
				t.Errorf("%d bytes quoted: got %v, want %v", n, got, want)
			}
			if got := s.give(about(bad.Data[14 : 14+n]))[0]; got != drop {
				t.Errorf("%d bytes of a refused packet quoted: got %v", n, got)
			}
		}
		s.want("about what was never sent", s.give(about(never.Data[14:])), drop)
	})
}
