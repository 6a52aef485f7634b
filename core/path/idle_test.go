package path_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// TestIdleTimes: what is allowed continues after silence, whoever speaks first: within the idle
// time as the same session, and after it by policy.
func TestIdleTimes(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		for _, idle := range []time.Duration{time.Hour, 2*time.Hour + 3*time.Minute, 5 * time.Hour, 50 * time.Hour} {
			for end := range 2 {
				for _, half := range []int{-1, 0, 1} { // which end has sent its FIN
					s := newStage(t, policy.Protect)
					s.policy(1, protect(), allow(7, 6, 50051))
					c := newConn(v6, 40000, 50051)
					s.give(open(t, c)...)
					s.give(c.seg(t, 0, "A", "x"), c.seg(t, 1, "A", "x"))
					if half >= 0 {
						s.give(c.seg(t, half, "FA", ""), c.seg(t, 1-half, "A", ""))
					}
					s.pass(idle, time.Minute)
					flags, payload := "A", "y"
					if half == end {
						payload = ""
					}
					s.want(fmt.Sprintf("after %v, end %d, half %d", idle, end, half), s.give(c.seg(t, end, flags, payload)), pass)
					ends := 0
					for _, f := range s.all {
						if f.Kind == flow.End {
							ends++
						}
					}
					if want := 0; idle < 124*time.Minute && ends != want {
						t.Errorf("after %v, half %d: %d ends", idle, half, ends)
					}
				}
			}
		}
	})
}

// TestLateAnswer: an answer that comes minutes after the question belongs to it.
func TestLateAnswer(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, 17, 50051))
		s.want("question", s.give(udp(t, v6, 0, 40000, 50051, "x")), pass)
		s.pass(40*time.Second, time.Second)
		if last := s.all[len(s.all)-1]; last.Kind != flow.End || last.Outcome != flow.OutcomeUnanswered {
			t.Fatalf("last record %+v, want it unanswered", last)
		}
		s.pass(4*time.Minute+15*time.Second, time.Second)
		s.all = nil
		s.want("answer", s.give(udp(t, v6, 1, 50051, 40000, "y")), pass)
		s.pass(3*time.Second, 100*time.Millisecond)
		if len(s.all) == 0 || s.all[0].Kind != flow.Start || s.all[0].ServerPort != 50051 || s.all[0].Outcome != flow.OutcomeEstablished || s.all[0].Packets != [2]uint64{0, 1} {
			t.Errorf("records %+v, want an answered session to port 50051", s.all)
		}
	})
}

// TestProbeChecksums checks a probe's bytes with the decoder and the checksum.
func TestProbeChecksums(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		x := tupleOf(v6, 6, 40000, 8080)
		link := packet.EthernetHeader([6]byte{2, 0, 0, 0, 0, 1}, [6]byte{2, 0, 0, 0, 0, 2}, v6)
		data := packet.BuildProbe(make([]byte, packet.AnswerMax), &packet.Probe{Link: link[:], IPv6: v6, Src: x.Remote, Dst: x.Local, SrcPort: 8080, DstPort: 40000, Seq: 5, Ack: 6})
		f := packet.Frame{Data: data, Wire: uint32(len(data))}
		var p packet.Packet
		p.Decode(&f)
		if p.Status != packet.OK || p.Src != x.Remote || p.Dst != x.Local || p.SrcPort != 8080 || p.DstPort != 40000 || p.Seq != 5 || p.Ack != 6 || p.Flags != packet.ACK {
			t.Fatalf("decoded as %+v", p)
		}
		tcp := data[len(data)-20:]
		if sum := packet.Checksum(tcp, packet.PseudoSum(&x.Remote, &x.Local, 6, len(tcp))); sum != 0 {
			t.Errorf("checksum is off by %#x of %#x", sum, binary.BigEndian.Uint16(tcp[16:]))
		}
		if packet.BuildProbe(make([]byte, 8), &packet.Probe{}) != nil {
			t.Error("a probe was built in too small a buffer")
		}
	})
}

// TestQuiet: a connection whose beginning was seen and that carries nothing is reported as idle
// after the time that identification may take, once; one that speaks is not.
func TestQuiet(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		for _, speaks := range []bool{false, true} {
			s := newStage(t, policy.Discover)
			s.policy(1, policy.WorkloadSpec{Mode: policy.Discover})
			c := newConn(v6, 40000, 8080)
			s.give(open(t, c)...)
			if speaks {
				s.give(c.seg(t, 1, "A", "x"))
			}
			s.pass(5*time.Minute, 100*time.Millisecond)
			idle := 0
			for _, f := range s.all {
				if f.Idle {
					idle++
				}
			}
			if want := map[bool]int{false: 1, true: 0}[speaks]; idle != want {
				t.Errorf("speaks %v: %d records of an idle connection, want %d", speaks, idle, want)
			}
		}
	})
}
