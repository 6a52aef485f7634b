package stream_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/stream"
)

// TestAcked waits for bytes that were acknowledged before they were seen, and gives them up
// when enough has arrived behind them.
func TestAcked(t *testing.T) {
	push := func(a *stream.Assembler, seq uint32, data string) stream.Outcome {
		out := a.Push(seq, []byte(data), len(data))
		a.Keep()
		return out
	}
	p := stream.NewPool(stream.Config{})
	a := p.Get(stream.Owner{})
	for _, isn := range []uint32{1000, 1<<32 - 4} {
		a.Init(isn)
		a.Acked(isn + 6)
		if push(a, isn+3, "def"); a.Gap() != 0 {
			t.Errorf("isn %d: a gap of %d at once, want none", isn, a.Gap())
		}
		push(a, isn, "abc")
		if got := string(a.Head()); got != "abcdef" {
			t.Errorf("isn %d: %q, want abcdef: they were late", isn, got)
		}
		for i := range uint32(5) { // nothing is missing
			push(a, isn+6+i, "g")
		}
		if got := string(a.Head()); got != "abcdefggggg" || a.Gap() != 0 {
			t.Errorf("isn %d: %q with a gap of %d, want abcdefggggg without", isn, got, a.Gap())
		}

		a.Init(isn)
		a.Acked(isn + 3)
		for i := range uint32(3) {
			out := push(a, isn+3+i, "x")
			if want := 0; i < 2 && (out.Gap != want || out.New) {
				t.Errorf("isn %d: segment %d behind: gap %d, new %v; want to wait", isn, i, out.Gap, out.New)
			}
			if i == 2 && (out.Gap != 3 || !out.New) {
				t.Errorf("isn %d: gap %d, new %v after three segments behind; want 3, new", isn, out.Gap, out.New)
			}
		}
		if a.Skip(); string(a.Head()) != "xxx" {
			t.Errorf("isn %d: %q behind the gap, want xxx", isn, a.Head())
		}
	}
	p.Put(a)
	if p.Used() != 0 {
		t.Errorf("%d bytes in use, want 0", p.Used())
	}
}
