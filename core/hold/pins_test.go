package hold_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/sluicenet/sluice/core/hold"
)

// TestPinsAgainstBytes compares pins with the bytes of a stream, in any cut and order, across the
// wrap of sequence numbers.
func TestPinsAgainstBytes(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		var p hold.Pins
		base := uint32(1<<32 - 200 + seed)
		stream, pinned := make([]byte, 400), make([]bool, 400)
		for i := range stream {
			stream[i] = byte(r.Uint32())
		}
		n := uint32(0)
		for range 20 {
			at := r.IntN(380)
			end := at + 1 + r.IntN(20)
			n = p.Add(n, 1, base+uint32(at), stream[at:end])
			for i := at; i < end; i++ {
				pinned[i] = true
			}
			at = r.IntN(380)
			again := bytes.Clone(stream[at : at+20])
			if p.Differs(n, 1, base+uint32(at), again) {
				t.Fatalf("seed %d: the same bytes differ", seed)
			}
			k := r.IntN(20)
			again[k]++
			if got := p.Differs(n, 1, base+uint32(at), again); got != pinned[at+k] {
				t.Fatalf("seed %d: another byte at %d: %v, want %v", seed, at+k, got, pinned[at+k])
			}
			if p.Differs(n, 0, base+uint32(at), again) {
				t.Fatalf("seed %d: the other direction differs", seed)
			}
		}
		if p.Acked(n, 1, base) {
			t.Fatalf("seed %d: nothing is pinned after an ACK of nothing", seed)
		}
		if !p.Acked(n, 1, base+400) || p.Bytes() != 0 {
			t.Fatalf("seed %d: %d bytes after the ACK of all", seed, p.Bytes())
		}
		p.Release(n)
	}
}

// TestPinsAreBounded: many sessions whose data is not acknowledged stay within the bound; those that
// lost their bytes accept no repetition of them, and what is new all the same.
func TestPinsAreBounded(t *testing.T) {
	var p hold.Pins
	payload := bytes.Repeat([]byte("x"), 16<<10)
	var all []uint32
	for range 2 * hold.MaxPinned / len(payload) {
		all = append(all, p.Add(0, 0, 1000, payload))
		if p.Bytes() > hold.MaxPinned {
			t.Fatalf("%d bytes pinned, want at most %d", p.Bytes(), hold.MaxPinned)
		}
	}
	first, last := all[0], all[len(all)-1]
	if !p.Differs(first, 0, 1000, payload[:10]) || p.Differs(last, 0, 1000, payload[:10]) {
		t.Error("the oldest must be sealed, and the newest not")
	}
	if p.Differs(first, 0, 1000+uint32(len(payload)), payload[:10]) {
		t.Error("what is behind a sealed place is refused")
	}
	if !p.Acked(first, 0, 1000+uint32(len(payload))) || p.Differs(first, 0, 1000, payload[:10]) {
		t.Error("a sealed place is still sealed after its ACK")
	}
	for _, n := range all {
		p.Release(n)
	}
	if p.Bytes() != 0 {
		t.Errorf("%d bytes after all were released", p.Bytes())
	}
	if n := p.Add(0, 0, 1, payload[:1]); n == 0 || p.Differs(n, 0, 1, payload[:1]) {
		t.Error("a number that is used again")
	}
}

// TestPinsOfPieces: a request in pieces of one byte costs about its bytes.
func TestPinsOfPieces(t *testing.T) {
	var p hold.Pins
	n := uint32(0)
	for i := range 16 << 10 {
		n = p.Add(n, 0, uint32(i), []byte{byte(i)})
	}
	if p.Bytes() > 17<<10 || p.Differs(n, 0, 5, []byte{5, 6, 7}) || !p.Differs(n, 0, 5, []byte{5, 6, 8}) {
		t.Errorf("%d bytes pinned", p.Bytes())
	}
}

func FuzzPins(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 1, 0, 4, 4, 2, 9, 9, 9, 3, 1, 1, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		var p hold.Pins
		var live []uint32
		for ; len(in) >= 4; in = in[4:] {
			var n uint32
			if len(live) > 0 {
				n = live[int(in[1])%len(live)]
			}
			seq, dir := uint32(in[2])<<4, in[3]&1
			payload := bytes.Repeat(in[3:4], int(in[3])<<7)
			switch in[0] % 4 {
			case 0:
				if n = p.Add(0, dir, seq, payload); n != 0 {
					live = append(live, n)
				}
			case 1:
				if n != 0 {
					p.Add(n, dir, seq, payload)
				}
			case 2:
				if n != 0 {
					p.Acked(n, dir, seq)
				}
			case 3:
				if n != 0 {
					p.Release(n)
					live = append(live[:int(in[1])%len(live)], live[int(in[1])%len(live)+1:]...)
				}
			}
			if p.Bytes() < 0 || p.Bytes() > hold.MaxPinned || len(live) == 0 && p.Bytes() != 0 {
				t.Fatalf("%d bytes of %d sessions", p.Bytes(), len(live))
			}
			for _, n := range live {
				p.Differs(n, dir, seq, payload)
			}
		}
	})
}
