package path_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// FuzzLink gives a path any frame in both directions: it decides, and what is not IP passes in
// protect only where it is one of the protocols of the link.
func FuzzLink(f *testing.F) {
	f.Add(arp(packet.Egress, toAll, macW, 1, macW, "10.0.0.1", "10.0.0.2").Data)
	f.Add(append([]byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 0, 0x45}, dhcp(1, 1, 7, macW)...))
	f.Add(append([]byte{0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255}, make([]byte, 56)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newStage(t, policy.Protect, known)
		s.policy(1, protect())
		for _, dir := range []packet.Direction{packet.Egress, packet.Ingress} {
			g := packet.Frame{Data: append([]byte(nil), b...), Wire: uint32(len(b)), Endpoint: 1, Dir: dir}
			a := s.give(g)[0]
			if a == packet.Undecided {
				t.Fatalf("undecided: %x", b)
			}
			if dir == packet.Egress && a == pass && len(b) >= 14 && own.MAC(b[6:12]) != macW {
				t.Fatalf("another's MAC address passes: %x", b)
			}
		}
	})
}
