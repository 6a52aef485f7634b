package path_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// TestTooBig answers packets that exceed the path MTU of their tunnel, and no others; they pass
// or not by policy alone.
func TestTooBig(t *testing.T) {
	long := strings.Repeat("x", 1450)
	tests := []struct {
		name string
		mtu  uint32
		data string
		gso  uint16 // payload of a segment; 0: one packet
		port uint16
		want uint64 // answers
		pass packet.Action
	}{
		{"too big", 1450, long, 0, 9, 1, pass},
		{"small enough", 1450, "x", 0, 9, 0, pass},
		{"no limit", 0, long, 0, 9, 0, pass},
		{"small segments", 1450, long, 1000, 9, 0, pass},
		{"large segments", 1450, long, 1440, 9, 1, pass},
		{"refused", 1450, long, 0, 10, 0, drop},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(t *testing.T, v6 bool) {
				s := newStage(t, policy.Protect)
				s.policy(1, protect(), allow(1, packet.ProtoUDP, 9))
				f := udp(t, v6, 0, 50000, tt.port, tt.data)
				if f.PathMTU = tt.mtu; tt.gso != 0 {
					f.Flags |= packet.GSO
					binary.LittleEndian.PutUint16(f.VNet[4:], tt.gso)
				}
				s.want("frame", s.give(f), tt.pass)
				s.counted(counter.TooBig, tt.want)
				if uint64(len(s.q.sent)) != tt.want {
					t.Fatalf("got %d frames sent, want %d", len(s.q.sent), tt.want)
				}
				for i := range s.q.sent {
					var p packet.Packet
					if p.Decode(&s.q.sent[i]); p.Embedded == nil || s.q.sent[i].Dir != packet.Ingress {
						t.Errorf("sent %v to %v, want an error to the workload", p.Proto, s.q.sent[i].Dir)
					}
				}
			})
		})
	}
}

// TestTooManyTooBig bounds the answers to a sender that does not listen.
func TestTooManyTooBig(t *testing.T) {
	s := newStage(t, policy.Protect)
	s.policy(1, protect(), allow(1, packet.ProtoUDP, 9))
	for range 1500 {
		f := udp(t, false, 0, 50000, 9, strings.Repeat("x", 1450))
		f.PathMTU = 1450
		s.give(f)
	}
	s.counted(counter.TooBig, 1000)
	s.pass(time.Second, time.Second)
	f := udp(t, false, 0, 50000, 9, strings.Repeat("x", 1450))
	f.PathMTU = 1450
	s.give(f)
	s.counted(counter.TooBig, 1001)
}
