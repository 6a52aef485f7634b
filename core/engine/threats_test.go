package engine_test

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/parsers"
)

// transfer is a DNS question for a zone transfer, longer than the kept part of a packet.
func transfer() string {
	name := strings.Repeat("\x3f"+strings.Repeat("a", 63), 3) + "\x32" + strings.Repeat("b", 50) + "\x00"
	return "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + "\x00\xfc\x00\x01"
}

// threats drains until there is one, for 3 s at most.
func (b *bench) threats(t *testing.T, q *memQueue) []report.Threat {
	t.Helper()
	var all []report.Threat
	for end := time.Now().Add(3 * time.Second); len(all) == 0 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		q.Wake()
		b.e.Threats(func(x *report.Threat) { all = append(all, *x) })
	}
	if len(all) != 1 {
		t.Fatalf("%d threats, want one", len(all))
	}
	return all
}

// TestPayloadThreatsKeepTheirPacket checks that the packet in which a parser found a threat
// is reported.
func TestPayloadThreatsKeepTheirPacket(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		for _, kind := range []backend.Kind{backend.Tap, backend.Inline} {
			b := newBench(t)
			b.policy(1, policy.Monitor, policy.WorkloadSpec{})
			q := b.attach(kind)
			f := frameOf(t, v6, 0, layers.IPProtocolUDP, &layers.UDP{SrcPort: 40000, DstPort: 53}, transfer())
			q.give(f)
			x := b.threats(t, q)[0]
			const eth = 14
			if want := f.Data[eth : eth+256]; x.ID != 2019 || !bytes.Equal(x.Frame, want) {
				t.Errorf("%v: threat %d with %x, want 2019 with %x", kind, x.ID, x.Frame, want)
			}
		}
	})
}

// TestHeaderThreatsKeepTheirPacket sends a segment that no stack sends, shorter than the kept
// part.
func TestHeaderThreatsKeepTheirPacket(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Monitor, policy.WorkloadSpec{})
		q := b.attach(backend.Tap)
		f := newConn(v6, 40000, 8080).seg(t, 0, "", "")
		q.give(f)
		want := f.Data[14:][:map[bool]int{false: 20, true: 40}[v6]+20] // without Ethernet's padding
		if x := b.threats(t, q)[0]; !bytes.Equal(x.Frame, want) {
			t.Errorf("got %x, want %x", x.Frame, want)
		}
	})
}

// far identifies nothing, and reports a threat in its data when polled.
type far struct {
	owner  uint32
	given  bool
	answer atomic.Bool
}

func (f *far) Remote(func()) detect.Remote                       { return f }
func (*far) Counters(map[string]uint64)                          {}
func (*far) Gap(uint64, parsers.Dir, int)                        {}
func (*far) End(uint64)                                          {}
func (*far) Close(uint64)                                        {}
func (*far) Flush()                                              {}
func (*far) Wait(time.Duration)                                  {}
func (*far) Export(uint64) any                                   { return nil }
func (*far) Adopt(any, uint32) uint64                            { return 0 }
func (*far) Stop()                                               {}
func (f *far) Open(_ *parsers.Meta, owner uint32) (uint64, bool) { f.owner = owner; return 1, false }
func (f *far) Data(uint64, parsers.Dir, []byte)                  { f.given = true }
func (f *far) Poll(to detect.Answers) {
	if f.given && f.answer.Load() {
		f.given = false
		to.Threat(f.owner, 2019, "found elsewhere")
	}
}

// TestPluginThreatsKeepAPacket has a plugin answer long after the packet: the last one passed
// to it is reported, not later ones of other sessions.
func TestPluginThreatsKeepAPacket(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		remote := &far{}
		b := newBench(t)
		b.e = engine.New(engine.Config{Parsers: &parsers.Registry{}, Remote: remote})
		t.Cleanup(func() { b.e.Close() })
		b.policy(1, policy.Monitor, policy.WorkloadSpec{})
		q := b.attach(backend.Tap)
		f := frameOf(t, v6, 0, layers.IPProtocolUDP, &layers.UDP{SrcPort: 40000, DstPort: 53}, transfer())
		q.give(f)
		q.give(newConn(v6, 40001, 8080).handshake(t)...)
		remote.answer.Store(true)
		x := b.threats(t, q)[0]
		if !bytes.Equal(x.Frame, f.Data[14:14+256]) || x.Proto != packet.ProtoUDP || x.SrcPort != 40000 {
			t.Errorf("got %+v, want the question", x)
		}
	})
}
