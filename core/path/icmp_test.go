package path_test

import (
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// TestICMPErrorsAboutFragments relate to the datagram's session, whichever fragment they quote, and an error
// that relates to none is judged as an ICMP message, without an answer.
func TestICMPErrorsAboutFragments(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Discover, policy.Protect} {
		s := newStage(t, mode)
		s.policy(1, policy.WorkloadSpec{Mode: mode}, allow(7, 17, 5000))
		parts := fragment(udp(t, false, 0, 40000, 5000, string(make([]byte, 3000))), 1480)
		s.give(parts...)
		about := func(quote []byte, typ, code uint8) packet.Frame {
			return frame(t, false, 1, layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code)}, string(quote))
		}
		unrelated := pass
		if mode == policy.Protect {
			unrelated = drop
		}
		for i := range parts {
			quote := parts[i].Data[14:]
			s.want("errors about a fragment", s.give(about(quote, 3, 4), about(quote[:28], 3, 4), about(quote[:28], 11, 0)), pass, pass, pass)
			s.want("a redirect", s.give(about(quote[:28], 5, 1)), unrelated)
			other := append([]byte(nil), quote[:28]...)
			other[15]++ // its source: the error is not sent there
			s.want("another source", s.give(about(other, 3, 4)), unrelated)
			if i > 0 {
				never := append([]byte(nil), quote[:28]...)
				never[5]++
				s.want("another identification", s.give(about(never, 3, 4)), unrelated)
			}
		}
		s.want("cut in the IP header", s.give(about(parts[1].Data[14:30], 3, 4)), unrelated)
		s.counted(counter.ICMPErrors, 9)
		s.counted(counter.ICMPUnrelated, 6)
		s.pass(time.Minute, time.Second)
		for _, r := range s.all {
			if r.Proto == packet.ProtoICMP && r.Answered {
				t.Errorf("mode %v: an unrelated ICMP error is answered: %+v", mode, r)
			}
		}
	}
}
