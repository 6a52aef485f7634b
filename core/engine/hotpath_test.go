package engine

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// segment returns a TCP segment of n payload bytes, without checksums.
func segment(v6 bool, client uint16, flags byte, seq, ack uint32, payload []byte) []byte {
	head, l3 := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}, 20
	if v6 {
		head[12], head[13], l3 = 0x86, 0xdd, 40
	}
	b := append(head, make([]byte, l3+20)...)
	ip := b[14:]
	if v6 {
		ip[0], ip[6], ip[7] = 0x60, 6, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(20+len(payload)))
		copy(ip[8:], netip.MustParseAddr("fd00::1").AsSlice())
		copy(ip[24:], netip.MustParseAddr("fd00::2").AsSlice())
	} else {
		ip[0], ip[8], ip[9] = 0x45, 64, 6
		binary.BigEndian.PutUint16(ip[2:], uint16(40+len(payload)))
		copy(ip[12:], []byte{10, 0, 0, 1})
		copy(ip[16:], []byte{10, 0, 0, 2})
	}
	tcp := ip[l3:]
	binary.BigEndian.PutUint16(tcp[0:], client)
	binary.BigEndian.PutUint16(tcp[2:], 80)
	binary.BigEndian.PutUint32(tcp[4:], seq)
	binary.BigEndian.PutUint32(tcp[8:], ack)
	tcp[12], tcp[13] = 5<<4, flags
	binary.BigEndian.PutUint16(tcp[14:], 60000)
	return append(b, payload...)
}

// hot returns an offline engine in protect mode with many rules.
func hot(tb testing.TB) *Offline {
	tb.Helper()
	reg, err := builtin.Registry()
	if err != nil {
		tb.Fatal(err)
	}
	spec := &policy.Spec{
		Version: 1, Groups: []policy.GroupSpec{{Name: "any", Any: true}}, Identities: []policy.IdentitySpec{{Groups: []uint32{0}}},
		Workloads: []policy.WorkloadSpec{{ID: OfflineWorkload, Mode: policy.Protect}},
	}
	for i := range uint32(1000) {
		spec.Rules = append(spec.Rules, policy.RuleSpec{ID: i + 1, Ports: []policy.PortSpec{{Proto: 6, Lo: uint16(10000 + i), Hi: uint16(10000 + i)}}})
	}
	spec.Rules = append(spec.Rules, policy.RuleSpec{ID: 5000, Ports: []policy.PortSpec{{Proto: 6, Lo: 80, Hi: 80}}, Apps: []app.ID{app.HTTP}})
	table, err := policy.Compile(spec)
	if err != nil {
		tb.Fatal(err)
	}
	return NewOffline(Config{Parsers: reg}, table, true)
}

func give(o *Offline, data []byte, stamp int64) packet.Action {
	f := packet.Frame{Data: data, Wire: uint32(len(data)), Stamp: stamp}
	o.Frame(&f)
	return f.Verdict.Action
}

// established opens a connection that is identified and allowed.
func established(tb testing.TB, o *Offline, v6 bool, client uint16) (seq uint32) {
	tb.Helper()
	request := []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	give(o, segment(v6, client, packet.SYN, 99, 0, nil), 1)
	give(o, segment(v6, client, packet.ACK, 100, 0, nil), 2)
	if a := give(o, segment(v6, client, packet.ACK|packet.PSH, 100, 0, request), 3); a != packet.Pass {
		tb.Fatalf("request: %s, want pass", a)
	}
	return 100 + uint32(len(request))
}

func drop(*flow.Record)    {}
func dropT(*report.Threat) {}

func TestFramePathDoesNotAllocate(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		o := hot(t)
		seq := established(t, o, v6, 40000)
		data := segment(v6, 40000, packet.ACK, seq, 0, make([]byte, 1000))
		at := len(data) - 1020
		f := packet.Frame{}
		n := testing.AllocsPerRun(1000, func() {
			binary.BigEndian.PutUint32(data[at+4:], seq)
			seq += 1000
			f = packet.Frame{Data: data, Wire: uint32(len(data)), Stamp: 10}
			o.Frame(&f)
		})
		if n != 0 {
			t.Errorf("ipv6 %v: %v allocations a frame, want 0", v6, n)
		}
		if f.Verdict.Action != packet.Pass {
			t.Errorf("ipv6 %v: %s, want pass", v6, f.Verdict.Action)
		}
	}
}

// BenchmarkFrame measures one data segment of an identified, allowed session under 1,001
// rules.
func BenchmarkFrame(b *testing.B) {
	for name, v6 := range map[string]bool{"ipv4": false, "ipv6": true} {
		b.Run(name, func(b *testing.B) {
			o := hot(b)
			seq := established(b, o, v6, 40000)
			data := segment(v6, 40000, packet.ACK, seq, 0, make([]byte, 1000))
			at := len(data) - 1020
			b.ReportAllocs()
			f := packet.Frame{}
			for b.Loop() {
				binary.BigEndian.PutUint32(data[at+4:], seq)
				seq += 1000
				f = packet.Frame{Data: data, Wire: uint32(len(data)), Stamp: 10}
				o.Frame(&f)
			}
		})
	}
}

// BenchmarkConnection measures a whole short HTTP connection: five frames, identified and
// judged.
func BenchmarkConnection(b *testing.B) {
	o := hot(b)
	b.ReportAllocs()
	stamp, i := int64(1), uint16(0)
	for b.Loop() {
		i++
		stamp += 1e6
		client := 1024 + i%60000
		give(o, segment(false, client, packet.SYN, 99, 0, nil), stamp)
		give(o, segment(false, client, packet.ACK, 100, 0, nil), stamp)
		give(o, segment(false, client, packet.ACK|packet.PSH, 100, 0, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")), stamp)
		give(o, segment(false, client, packet.ACK|packet.FIN, 126, 0, nil), stamp)
		give(o, segment(false, client, packet.RST|packet.ACK, 127, 0, nil), stamp)
		if i%512 == 0 {
			o.Drain(drop, dropT)
		}
	}
}
