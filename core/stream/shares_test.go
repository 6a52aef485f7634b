package stream_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/stream"
)

// far makes an assembler hold as much memory as one may with a single byte.
func far(p *stream.Pool, o stream.Owner) (*stream.Assembler, bool) {
	a := p.Get(o)
	a.Init(1)
	return a, !a.Push(1+120<<10, []byte{1}, 1).Overflow
}

// TestOwnersShareTheBudget: a workload, or a peer of one, that makes the pool hold as much as it can leaves room for
// others; what it gives back it may have again.
func TestOwnersShareTheBudget(t *testing.T) {
	const budget, each = 8 << 20, 128 << 10
	peer := func(n byte) packet.Addr { return packet.Addr{15: n} }
	for _, test := range []struct {
		name  string
		owner func(i int) stream.Owner // of the flood
		calm  stream.Owner
		most  int // bytes of the flood
	}{
		{"one peer", func(int) stream.Owner { return stream.Owner{Workload: 1, Peer: peer(1)} }, stream.Owner{Workload: 1, Peer: peer(2)}, budget / 2},
		{"many peers", func(i int) stream.Owner { return stream.Owner{Workload: 1, Peer: peer(byte(i))} }, stream.Owner{Workload: 2, Peer: peer(1)}, budget / 8 * 7},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := stream.NewPool(stream.Config{Budget: budget})
			var held []*stream.Assembler
			refused := uint64(0)
			for i := range 200 {
				a, ok := far(p, test.owner(i))
				if !ok {
					refused++
				}
				held = append(held, a)
			}
			if got := p.Used(); got > test.most || got < test.most-each || p.Refused() != refused || refused == 0 {
				t.Errorf("the flood has %d bytes, %d of %d refused ones are counted, want about %d", got, p.Refused(), refused, test.most)
			}
			before := p.Used()
			if _, ok := far(p, test.calm); !ok {
				t.Error("no room for another owner")
			}
			for _, a := range held {
				p.Put(a)
			}
			if got := p.Used(); got != each || before == 0 {
				t.Errorf("after the flood %d bytes are in use, want %d", got, each)
			}
			if _, ok := far(p, test.owner(0)); !ok {
				t.Error("no room for the owner after its flood")
			}
		})
	}
}

// TestSharesMove: memory is charged to its owner in the pool that has it.
func TestSharesMove(t *testing.T) {
	from, to := stream.NewPool(stream.Config{Budget: 1 << 20}), stream.NewPool(stream.Config{Budget: 1 << 20})
	o := stream.Owner{Workload: 1}
	fill := func(p *stream.Pool) (n int, last *stream.Assembler) {
		for {
			a, ok := far(p, o)
			if !ok {
				return n, last
			}
			n, last = n+1, a
		}
	}
	n, a := fill(from)
	if n != 4 {
		t.Fatalf("%d assemblers have room in a pool of their own, want 4", n)
	}
	from.Release(a)
	to.Adopt(a)
	if got, _ := fill(from); got != 1 {
		t.Errorf("%d have room where one left, want 1", got)
	}
	if got, _ := fill(to); got != n-1 {
		t.Errorf("%d have room where one came, want %d", got, n-1)
	}
}
