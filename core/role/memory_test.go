package role_test

import (
	"math/rand/v2"
	"testing"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/role"
)

// randomTuple draws from few values, so that ends are often equal in some of their parts.
func randomTuple(r *rand.Rand) role.Tuple {
	e := ends[[]string{"ipv4", "ipv6"}[r.IntN(2)]]
	ports := []uint16{0, 53, 443, 5000, 33000, 40000, 65535}
	t := role.Tuple{Local: e[r.IntN(2)], Remote: e[r.IntN(2)], LocalPort: ports[r.IntN(len(ports))], RemotePort: ports[r.IntN(len(ports))], Proto: []uint8{tcp, udp, sctp}[r.IntN(3)]}
	return t
}

// TestHashOfBothEnds: the two ends of a session have one hash, and exactly one of them sorts first unless they are the same.
func TestHashOfBothEnds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 7))
	type found struct {
		tuple role.Tuple
		seed  role.Seed
	}
	seen := map[uint64]found{}
	for range 5000 {
		seed := role.SeedOf([]string{"", "a", "b", "ab"}[r.IntN(4)])
		a := randomTuple(r)
		b := a.Reverse()
		if b.Reverse() != a {
			t.Fatalf("%+v reversed twice is %+v", a, b.Reverse())
		}
		ha, lowerA := seed.Hash(&a)
		hb, lowerB := seed.Hash(&b)
		if ha != hb {
			t.Fatalf("%+v: hash %x, of the other end %x", a, ha, hb)
		}
		if same := a == b; same && !(lowerA && lowerB) || !same && lowerA == lowerB {
			t.Fatalf("%+v: first %t, and the other end %t", a, lowerA, lowerB)
		}
		if other, ok := seen[ha]; ok && (other.seed != seed || other.tuple != a && other.tuple != b) {
			t.Fatalf("%+v of %d and %+v of %d have one hash", other.tuple, other.seed, a, seed)
		}
		seen[ha] = found{a, seed}
	}
	if len(seen) < 500 {
		t.Errorf("only %d different sessions were drawn", len(seen))
	}
}

// TestMemoryRemembersItsWorkload: what is remembered of one workload's session says nothing of another workload's, of another session, or
// of another protocol between the same ends.
func TestMemoryRemembersItsWorkload(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 7))
	for range 2000 {
		seed, tuple := role.SeedOf("w"), randomTuple(r)
		if tuple == tuple.Reverse() {
			continue
		}
		side := []role.Side{role.Client, role.Server}[r.IntN(2)]
		ctx := role.Context{Memory: remembered(seed, tuple, side), Seed: seed, Recent: true}
		if got := ctx.Known(&tuple); got.Side != side || got.Evidence != flow.EvidenceMemory || got.Firm {
			t.Fatalf("%+v as %v: known as %+v", tuple, side, got)
		}
		back := tuple.Reverse()
		if got := ctx.Known(&back); got.Side == side || got.Side == role.Unknown || got.Evidence != flow.EvidenceMemory {
			t.Fatalf("%+v as %v: the other end is known as %+v", tuple, side, got)
		}
		for name, change := range map[string]func(*role.Context, *role.Tuple){
			"another workload": func(c *role.Context, _ *role.Tuple) { c.Seed = role.SeedOf("v") },
			"another port":     func(_ *role.Context, t *role.Tuple) { t.RemotePort ^= 1 << 9 },
			"another protocol": func(_ *role.Context, t *role.Tuple) { t.Proto ^= 1 },
			"another address":  func(_ *role.Context, t *role.Tuple) { t.Remote[15] ^= 64 },
			"no memory":        func(c *role.Context, _ *role.Tuple) { c.Memory = nil },
		} {
			c, other := ctx, tuple
			change(&c, &other)
			if got := c.Known(&other); got.Evidence == flow.EvidenceMemory && got.Side != role.Unknown {
				t.Fatalf("%s: %+v is known as %+v", name, other, got)
			}
		}
	}
}

// TestRaisesIsAnOrder: of two findings about one session at most one replaces the other, none replaces itself, and Unknown replaces nothing.
func TestRaisesIsAnOrder(t *testing.T) {
	var all []role.Finding
	for _, side := range []role.Side{role.Unknown, role.Client, role.Server} {
		for e := flow.EvidencePort; e <= flow.EvidenceHandshake; e++ {
			all = append(all, role.Finding{Side: side, Evidence: e}, role.Finding{Side: side, Evidence: e, Firm: true})
		}
	}
	for i := range all {
		for k := range all {
			a, b := &all[i], &all[k]
			up, down := a.Raises(b.Evidence, b.Firm), b.Raises(a.Evidence, a.Firm)
			switch {
			case up && down:
				t.Errorf("%+v and %+v replace each other", *a, *b)
			case i == k && up:
				t.Errorf("%+v replaces itself", *a)
			case up && a.Side == role.Unknown:
				t.Errorf("%+v replaces %+v", *a, *b)
			case up && b.Firm && !a.Firm:
				t.Errorf("%+v, which is not firm, replaces %+v", *a, *b)
			}
			for m := range all {
				c := &all[m]
				if up && b.Raises(c.Evidence, c.Firm) && !a.Raises(c.Evidence, c.Firm) {
					t.Errorf("%+v replaces %+v, which replaces %+v, but not that", *a, *b, *c)
				}
			}
		}
	}
}

// TestOpeningAgreesOnBothSides: whoever the packet is seen of, sender or receiver, a session's opening claim names one client.
func TestOpeningAgreesOnBothSides(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 7))
	for range 3000 {
		tuple := randomTuple(r)
		flags := []uint8{packet.SYN, packet.SYN | packet.ACK, packet.ACK, packet.ACK | packet.FIN}[r.IntN(4)]
		p := packetOf([2]packet.Addr{tuple.Local, tuple.Remote}, tuple.Proto, flags, out, tuple.LocalPort, tuple.RemotePort)
		var sender, receiver role.Context
		a, b := sender.Opening(p, out), receiver.Opening(p, in)
		if a.FromSource != b.FromSource && a.Firm && b.Firm {
			t.Fatalf("%+v, flags %x: the sender's end says %+v, the receiver's %+v", tuple, flags, a, b)
		}
		if a.Firm && a.Midstream {
			t.Fatalf("%+v: the first packet is firm without any knowledge, and in mid-stream: %+v", tuple, a)
		}
	}
}
