package path_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

// datagram is the first one of a case of a tunnel's parser.
func datagram(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "parsers", "overlay", "testdata", dir, name+".case"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := parsertest.Parse(name, string(text))
	if err != nil {
		t.Fatal(err)
	}
	return string(c.Messages[0].Data)
}

// answered returns the last reported outcome of the sessions from a client port.
func (s *stage) answered(port uint16) (is bool, o flow.Outcome) {
	for i := range s.all {
		if r := &s.all[i]; r.ClientPort == port {
			is, o = r.Answered, r.Outcome
		}
	}
	return is, o
}

// TestTunnels has both directions of a tunnel, which are sessions of their own, answer each
// other, in either order; and nothing else answers them.
func TestTunnels(t *testing.T) {
	for _, kind := range []string{"vxlan", "geneve"} {
		inside := datagram(t, kind, "tcp-inside")
		port := map[string]uint16{"vxlan": 4789, "geneve": 6081}[kind]
		tests := []struct {
			name  string
			give  func(t *testing.T, v6 bool) []packet.Frame
			from  uint16 // the client port of the session in question
			wants bool
		}{
			{"one direction", func(t *testing.T, v6 bool) []packet.Frame {
				return []packet.Frame{udp(t, v6, 0, 50000, port, inside), udp(t, v6, 0, 50001, port, inside)}
			}, 50000, false},
			{"both, the workload first", func(t *testing.T, v6 bool) []packet.Frame {
				return []packet.Frame{udp(t, v6, 0, 50000, port, inside), udp(t, v6, 1, 50001, port, inside)}
			}, 50000, true},
			{"both, the other end first", func(t *testing.T, v6 bool) []packet.Frame {
				return []packet.Frame{udp(t, v6, 1, 50001, port, inside), udp(t, v6, 0, 50000, port, inside)}
			}, 50001, true},
			{"a further session", func(t *testing.T, v6 bool) []packet.Frame {
				return []packet.Frame{udp(t, v6, 0, 50000, port, inside), udp(t, v6, 1, 50001, port, inside), udp(t, v6, 0, 50002, port, inside)}
			}, 50002, true},
			{"sessions to it, forged or not", func(t *testing.T, v6 bool) []packet.Frame {
				return []packet.Frame{udp(t, v6, 1, 50001, port, inside), udp(t, v6, 1, 50002, port, inside)}
			}, 50001, false},
			{"the reverse to another port", func(t *testing.T, v6 bool) []packet.Frame {
				return []packet.Frame{udp(t, v6, 0, 50000, port, inside), udp(t, v6, 1, 50001, port+1, inside)}
			}, 50000, false},
			{"the reverse is no tunnel", func(t *testing.T, v6 bool) []packet.Frame {
				return []packet.Frame{udp(t, v6, 0, 50000, port, inside), udp(t, v6, 1, 50001, port, "what else may be sent to a port")}
			}, 50000, false},
			{"no tunnel at all", func(t *testing.T, v6 bool) []packet.Frame {
				return []packet.Frame{udp(t, v6, 0, 50000, port, "text"), udp(t, v6, 1, 50001, port, "text")}
			}, 50000, false},
		}
		for _, tt := range tests {
			t.Run(kind+"/"+tt.name, func(t *testing.T) {
				both(t, func(t *testing.T, v6 bool) {
					s := newStage(t, policy.Discover)
					s.policy(1, policy.WorkloadSpec{Mode: policy.Discover})
					s.give(tt.give(t, v6)...)
					s.pass(3*time.Second, 100*time.Millisecond)
					is, o := s.answered(tt.from)
					if is != tt.wants || (o == flow.OutcomeEstablished) != tt.wants {
						t.Errorf("got answered %t, %v; want %t", is, o, tt.wants)
					}
				})
			})
		}
	}
}

// TestTunnelDenied keeps a refused session from answering one.
func TestTunnelDenied(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(1, packet.ProtoUDP, 4789, app.VXLAN))
		inside := datagram(t, "vxlan", "tcp-inside")
		s.want("frames", s.give(udp(t, v6, 0, 50000, 4789, inside), udp(t, v6, 1, 50001, 4789, inside)), pass, drop)
		s.pass(3*time.Second, 100*time.Millisecond)
		if is, _ := s.answered(50000); is {
			t.Error("a refused session answered")
		}
		s.want("frame that is no tunnel", s.give(udp(t, v6, 0, 50002, 4789, "\x08\x00\x00\x00 begins alike")), drop)
	})
}

// TestManyTunnels pairs a tunnel also when others displace it in memory: by its timer.
func TestManyTunnels(t *testing.T) {
	s := newStage(t, policy.Discover)
	s.policy(1, policy.WorkloadSpec{Mode: policy.Discover})
	inside := datagram(t, "vxlan", "tcp-inside")
	s.give(udp(t, false, 1, 50001, 4789, inside))
	for i := range 2000 { // forged, each to a port of its own
		s.give(udp(t, false, 1, 40000, uint16(10000+i), inside))
	}
	s.give(udp(t, false, 0, 50000, 4789, inside))
	for range 6 {
		s.give(udp(t, false, 1, 50001, 4789, inside), udp(t, false, 0, 50000, 4789, inside))
		s.pass(time.Second, 100*time.Millisecond)
	}
	for _, port := range []uint16{50000, 50001} {
		if is, _ := s.answered(port); !is {
			t.Errorf("session from port %d: not answered", port)
		}
	}
}
