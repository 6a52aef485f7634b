package engine_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/parsers"
)

// slow is a parser that always wants more.
type slow struct{}

func (slow) Name() string                                           { return "slow" }
func (slow) Probe(*parsers.Meta, parsers.Dir, []byte) parsers.Match { return parsers.More }
func (slow) Open(*parsers.Meta, parsers.Sink) parsers.Stream        { return nil }

// cut splits a frame into IPv4 fragments, n bytes of payload in each.
func cut(f packet.Frame, n int) []packet.Frame {
	head, rest := f.Data[:34], f.Data[34:]
	var out []packet.Frame
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

// A fragmented datagram is held and forwarded as its original fragments: no sender repeats
// it.
func TestFragmentsAreHeld(t *testing.T) {
	reg := &parsers.Registry{}
	if err := reg.Add(slow{}, app.SIP, parsers.UDP); err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, e: engine.New(engine.Config{Parsers: reg}), be: &memBackend{inline: newMemQueue(), taps: map[uint32]*memQueue{}}}
	t.Cleanup(func() { b.e.Close() })
	b.policy(1, policy.Protect, policy.WorkloadSpec{Hold: 50 * time.Millisecond, HoldPass: true}, allow(7, []policy.PortSpec{{Proto: 17, Lo: 5060, Hi: 5060}}, app.SIP))
	b.e.SetSockets(1, &role.Sockets{Complete: true}) // the conversation begins now
	q := b.attach(backend.Inline)
	udp := &layers.UDP{SrcPort: 40000, DstPort: 5060}
	frames := cut(frameOf(t, false, 0, layers.IPProtocolUDP, udp, string(make([]byte, 60000))), 1480)
	for i, a := range frames {
		if got := actions(q.give(a)); got != "drop" {
			t.Fatalf("fragment %d: %s, want drop: a copy is sent later", i, got)
		}
	}
	sent := q.takeSent()
	for begin := time.Now(); len(sent) < len(frames) && time.Since(begin) < 5*time.Second; time.Sleep(time.Millisecond) {
		sent = append(sent, q.takeSent()...)
	}
	if len(sent) != len(frames) {
		t.Fatalf("%d fragments were sent, want %d", len(sent), len(frames))
	}
	for i := range sent {
		if string(sent[i].Data) != string(frames[i].Data) {
			t.Fatalf("fragment %d is not as it was", i)
		}
	}
}
