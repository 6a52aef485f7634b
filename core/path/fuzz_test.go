package path_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// seeds are whole exchanges, the frames that the fuzzer damages.
func seeds(t *testing.T, v6 bool) (out []packet.Frame) {
	c := newConn(v6, 40000, 8080)
	out = append(out, open(t, c)...)
	out = append(out, c.seg(t, 0, "A", request[:7]), c.seg(t, 0, "A", request[7:]), c.seg(t, 1, "FA", ""), c.seg(t, 0, "RA", ""))
	out = append(out, udp(t, v6, 0, 40000, 53, "question"), udp(t, v6, 1, 53, 40000, "answer"))
	return append(out, pieces(udp(t, v6, 0, 40001, 5000, string(make([]byte, 300))), v6, 3, 120)...)
}

// damage changes a frame as three bytes of the script say: where, how, and what.
func damage(f *packet.Frame, where, how, what byte) {
	if len(f.Data) == 0 {
		return
	}
	at := 12 + int(where)
	switch how % 8 {
	case 0, 1, 2: // as it is
	case 3:
		f.Data = f.Data[:min(len(f.Data), at)]
	case 4:
		f.Data[min(at, len(f.Data)-1)] = what
	case 5:
		f.Data[min(at, len(f.Data)-1)] ^= 1 << (what % 8)
	case 6:
		f.Data = append(f.Data, make([]byte, what)...)
	case 7:
		f.Endpoint = uint32(what % 3)
	}
}

// FuzzFrames gives a path damaged frames in any order, in batches of any size: it never panics, each frame has an action, what it sends
// are frames of its endpoint, and after a while it holds nothing any more.
func FuzzFrames(f *testing.F) {
	f.Add(uint8(0), []byte{0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0})
	f.Add(uint8(1), []byte{9, 0, 0, 0, 10, 0, 0, 0, 11, 0, 0, 0, 3, 2, 3, 1})
	f.Add(uint8(2), []byte{0, 0, 0, 0, 3, 0, 0, 0, 4, 22, 4, 9, 6, 30, 5, 4})
	f.Add(uint8(7), []byte{7, 0, 0, 0, 8, 0, 7, 2, 0, 5, 6, 40, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, setting uint8, script []byte) {
		script = script[:min(len(script), 4*200)]
		w := policy.WorkloadSpec{Mode: policy.Mode(setting % 3), FailClosed: setting&8 != 0, HoldPass: !(setting&16 != 0), OnDeny: policy.OnDeny(setting >> 5 % 3)}
		s := newStage(t, w.Mode)
		s.policy(1, w, allow(7, packet.ProtoTCP, 8080, app.HTTP), allow(8, packet.ProtoUDP, 53), allow(9, packet.ProtoUDP, 5000))
		templates := seeds(t, setting&4 != 0)
		var batch []packet.Frame
		given := uint64(0)
		for ; len(script) >= 4; script = script[4:] {
			g := templates[int(script[0])%len(templates)]
			g.Data = append([]byte(nil), g.Data...)
			damage(&g, script[1], script[2], script[3])
			batch = append(batch, g)
			if script[0]&1 != 0 {
				given += uint64(len(batch))
				checkActions(t, s, batch)
				s.now += int64(script[3]) * 1e6
				batch = nil
			}
		}
		given += uint64(len(batch))
		checkActions(t, s, batch)
		for range 20 { // more than every hold time and time-out of a fragment
			s.now += 30e9
			s.give()
		}
		s.counted(counter.Frames, given)
		if s.p.Alarm() != 0 {
			t.Error("an alarm is set ten minutes after the last frame")
		}
	})
}

func checkActions(t *testing.T, s *stage, batch []packet.Frame) {
	t.Helper()
	for i, a := range s.give(batch...) {
		if a != pass && a != drop && a != held {
			t.Fatalf("frame %d: action %v", i, a)
		}
		if w := s.end; a == held && !w.Inline {
			t.Fatalf("frame %d is held where verdicts have no effect", i)
		}
	}
	for _, f := range s.q.sent {
		if f.Endpoint != 1 || len(f.Data) < 14 || f.Dir != packet.Egress && f.Dir != packet.Ingress {
			t.Fatalf("sent %+v", f)
		}
	}
}
