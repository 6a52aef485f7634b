package offload_test

import (
	"math/rand/v2"
	"testing"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/offload"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// TestCountsMatchTheWire sends random traffic over an offloaded flow, some of which still reaches the queue, and queries the kernel at random
// times: when it ends, the session has exactly what was sent, whichever way it went, and whether or not the kernel saw the beginning.
func TestCountsMatchTheWire(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 6))
		proto := []uint8{packet.ProtoTCP, packet.ProtoUDP}[r.IntN(2)]
		s := decided(proto)
		if proto == packet.ProtoUDP {
			s.State = flow.NoPhase
		}
		sent, size := s.Packets, s.Bytes
		k := &kernel{}
		switch r.IntN(3) {
		case 0: // it counted everything
			k.count.Packets, k.count.Bytes = sent, size
		case 1: // it counts from now on
		default: // its count is an older flow's, too
			s.Flags |= session.Midstream
			k.count = backend.FlowCount{Packets: [2]uint64{uint64(r.IntN(1000)), uint64(r.IntN(1000))}, Bytes: [2]uint64{uint64(r.IntN(1e6)), uint64(r.IntN(1e6))}}
		}
		o := offload.New(k)
		if !o.Leave(s) {
			t.Fatalf("seed %d: not offloaded", seed)
		}
		now := 2 * second
		for range 200 {
			now += int64(r.IntN(int(second)))
			switch r.IntN(4) {
			case 0:
				o.BeginBatch()
				if at := o.Recount(s, now); at <= now {
					t.Fatalf("seed %d: queried again at %d, now is %d", seed, at, now)
				}
				if s.Packets != sent || s.Bytes != size {
					t.Fatalf("seed %d: counted %v packets and %v bytes, want %v and %v", seed, s.Packets, s.Bytes, sent, size)
				}
			default:
				d, n := r.IntN(2), 40+r.IntN(1400)
				k.count.Packets[d]++
				k.count.Bytes[d] += uint64(n)
				sent[d]++
				size[d] += uint64(n)
				if r.IntN(10) == 0 { // the kernel counts it although it reaches the queue
					o.Seen(s, n, now)
				}
			}
		}
		o.Settle(s, now)
		if s.Packets != sent || s.Bytes != size || s.Marks&session.Offloaded != 0 {
			t.Fatalf("seed %d: settled with %v packets and %v bytes, want %v and %v", seed, s.Packets, s.Bytes, sent, size)
		}
		if passed := sent[0] + sent[1] - 30; o.Counts.Packets > passed {
			t.Errorf("seed %d: %d packets passed in the kernel only, of %d", seed, o.Counts.Packets, passed)
		}
		asked := k.asked
		o.Settle(s, now)
		if k.asked != asked {
			t.Errorf("seed %d: the kernel was queried about a session that is not offloaded", seed)
		}
	}
}

// TestKeyOf: the kernel's key is that of the client's orientation, in both families, whichever end sorts first.
func TestKeyOf(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, clientIsA := range []bool{false, true} {
			s := decided(packet.ProtoTCP)
			s.Key.IPv6, s.ClientIsA = v6, clientIsA
			k := offload.KeyOf(s)
			client, cport := s.Client()
			server, sport := s.Server()
			if want := (backend.FlowKey{Endpoint: 3, Client: client, Server: server, ClientPort: cport, ServerPort: sport, Proto: 6, IPv6: v6}); k != want {
				t.Errorf("got %+v, want %+v", k, want)
			}
			if (k.ClientPort == 40000) != clientIsA {
				t.Errorf("client port %d where the client is A: %t", k.ClientPort, clientIsA)
			}
		}
	}
}
