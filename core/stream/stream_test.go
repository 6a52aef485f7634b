package stream_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sluicenet/sluice/core/stream"
)

// step is one call of an assembler, and its expected result.
type step struct {
	at      int    // stream offset of the segment; of the ACK with lost
	data    string // "" with lost
	wire    int    // 0: len(data)
	lost    bool   // Lost(at) instead of Push
	consume int    // after it; -1: Skip
	want    stream.Outcome
	head    string
}

var cases = []struct {
	name  string
	cfg   stream.Config
	steps []step
}{
	{"in order", stream.Config{}, []step{
		{at: 0, data: "abc", want: stream.Outcome{New: true}, head: "abc", consume: 3},
		{at: 3, data: "def", want: stream.Outcome{New: true}, head: "def", consume: 1},
		{at: 6, data: "ghi", want: stream.Outcome{New: true}, head: "efghi", consume: 5},
		{at: 9, data: "j", want: stream.Outcome{New: true}, head: "j"},
	}},
	{"out of order", stream.Config{}, []step{
		{at: 6, data: "ghi", head: ""},
		{at: 3, data: "def", head: ""},
		{at: 0, data: "abc", want: stream.Outcome{New: true}, head: "abcdefghi"},
	}},
	{"retransmitted", stream.Config{}, []step{
		{at: 0, data: "abc", want: stream.Outcome{New: true}, head: "abc", consume: 2},
		{at: 0, data: "abc", want: stream.Outcome{Retransmit: true}, head: "c"},
		{at: 0, data: "a", want: stream.Outcome{Retransmit: true}, head: "c"},
		{at: 1, data: "bcd", want: stream.Outcome{New: true}, head: "cd"},
	}},
	{"overlap, the first bytes stay", stream.Config{}, []step{
		{at: 2, data: "CD", head: ""},
		{at: 6, data: "GH", head: ""},
		{at: 1, data: "bcdefghi", want: stream.Outcome{Overlap: true}, head: ""},
		{at: 0, data: "a", want: stream.Outcome{New: true}, head: "abCDefGHi"},
		{at: 8, data: "xj", want: stream.Outcome{New: true, Overlap: true}, head: "abCDefGHij"},
		{at: 4, data: "ef", want: stream.Outcome{Retransmit: true}, head: "abCDefGHij"},
	}},
	{"consumed bytes repeated with other values", stream.Config{}, []step{
		{at: 0, data: "abc", want: stream.Outcome{New: true}, head: "abc", consume: 3},
		{at: 0, data: "abc", want: stream.Outcome{Retransmit: true}, head: ""},
		{at: 0, data: "aXc", want: stream.Outcome{Retransmit: true, Overlap: true}, head: ""},
	}},
	{"cut by the capture", stream.Config{}, []step{
		{at: 0, data: "abc", wire: 10, want: stream.Outcome{New: true, Gap: 7}, head: "abc", consume: 2},
		{at: 10, data: "kl", want: stream.Outcome{Gap: 7}, head: "c", consume: -1},
		{at: 12, data: "m", want: stream.Outcome{New: true}, head: "klm", consume: 3},
		{at: 13, wire: 5, want: stream.Outcome{New: true, Gap: 5}, head: "", consume: -1},
		{at: 18, data: "s", want: stream.Outcome{New: true}, head: "s"},
	}},
	{"lost frames", stream.Config{}, []step{
		{at: 0, data: "abc", want: stream.Outcome{New: true}, head: "abc", consume: 3},
		{at: 3, lost: true, head: ""},
		{at: 8, data: "ij", head: ""},
		{at: 12, data: "mn", head: ""},
		{at: 5, lost: true, want: stream.Outcome{Gap: 2}, head: ""},
		{at: 14, lost: true, want: stream.Outcome{Gap: 5}, head: "", consume: -1},
		{at: 14, data: "o", want: stream.Outcome{Gap: 2}, head: "ij", consume: -1},
		{at: 10, data: "zz", want: stream.Outcome{Retransmit: true}, head: "mno"},
	}},
	{"lost far ahead", stream.Config{}, []step{
		{at: 1 << 20, lost: true, want: stream.Outcome{Gap: 1 << 20}, head: "", consume: -1},
		{at: 1 << 20, data: "x", want: stream.Outcome{New: true}, head: "x"},
	}},
	{"too far ahead", stream.Config{Window: 100}, []step{
		{at: 98, data: "ab", head: ""},
		{at: 99, data: "bc", want: stream.Outcome{Overflow: true}, head: ""},
		{at: 0, data: "x", want: stream.Outcome{Overflow: true}, head: ""},
	}},
	{"too many runs", stream.Config{Segments: 2}, []step{
		{at: 2, data: "c", head: ""},
		{at: 4, data: "e", head: ""},
		{at: 3, data: "d", head: ""},
		{at: 7, data: "h", head: ""},
		{at: 9, data: "j", want: stream.Outcome{Overflow: true}, head: ""},
	}},
	{"no budget", stream.Config{Budget: 1000}, []step{
		{at: 0, data: "abc", want: stream.Outcome{New: true}, head: "abc", consume: 3},
		{at: 4, data: "e", want: stream.Outcome{Overflow: true}, head: ""},
	}},
}

func TestCases(t *testing.T) {
	for _, c := range cases {
		for _, isn := range []uint32{0, 1<<32 - 1, 1<<32 - 3, 1<<31 - 2} {
			t.Run(c.name, func(t *testing.T) {
				p := stream.NewPool(c.cfg)
				a := p.Get(stream.Owner{})
				a.Init(isn)
				for i, s := range c.steps {
					var got stream.Outcome
					if s.lost {
						a.Lost(isn + uint32(s.at))
						got.Gap = a.Gap()
					} else {
						got = a.Push(isn+uint32(s.at), []byte(s.data), s.wire)
					}
					if head := string(a.Head()); got != s.want || head != s.head {
						t.Fatalf("step %d: got %+v %q, want %+v %q", i, got, head, s.want, s.head)
					}
					if s.consume < 0 {
						a.Skip()
					}
					a.Consume(s.consume)
					a.Keep()
				}
				p.Put(a)
				if p.Used() != 0 {
					t.Errorf("used after Put: got %d, want 0", p.Used())
				}
			})
		}
	}
}

type cut struct{ from, to int }

// shuffled cuts n bytes, disorders the pieces within some distance, repeats some, and
// adds overlapping ones.
func shuffled(rng *rand.Rand, n int) []cut {
	var cuts []cut
	for at := 0; at < n; {
		to := min(n, at+1+rng.IntN(1+rng.IntN(3000)))
		cuts = append(cuts, cut{at, to})
		at = to
	}
	for range len(cuts) / 2 {
		i := rng.IntN(len(cuts))
		j := min(len(cuts)-1, i+rng.IntN(6))
		cuts[i], cuts[j] = cuts[j], cuts[i]
		from := rng.IntN(n)
		more := cut{from, min(n, from+rng.IntN(2000))}
		if rng.IntN(2) == 0 {
			more = cuts[rng.IntN(len(cuts))]
		}
		if at := cuts[i].from; more.to < at+30000 {
			cuts = slices.Insert(cuts, i, more)
		}
	}
	return cuts
}

func TestAnyCutGivesTheSameBytes(t *testing.T) {
	p := stream.NewPool(stream.Config{})
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		want := make([]byte, 1+rng.IntN(60000))
		for i := range want {
			want[i] = byte(rng.Uint32())
		}
		isn := rng.Uint32()
		a := p.Get(stream.Owner{})
		a.Init(isn)
		var got []byte
		for _, c := range shuffled(rng, len(want)) {
			frame := bytes.Clone(want[c.from:c.to])
			out := a.Push(isn+uint32(c.from), frame, 0)
			if out.Overlap || out.Overflow || out.Gap != 0 || int(a.Offset()) != len(got) {
				t.Fatalf("seed %d: %+v at %d of %d", seed, out, a.Offset(), len(got))
			}
			use := a.Head()
			if rng.IntN(3) > 0 {
				use = use[:rng.IntN(len(use)+1)]
			}
			got = append(got, use...)
			a.Consume(len(use))
			a.Keep()
			clear(frame) // the frame is returned
		}
		if got = append(got, a.Head()...); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: got %d bytes, want %d, or other ones", seed, len(got), len(want))
		}
		p.Put(a)
	}
	if p.Used() != 0 {
		t.Errorf("used at the end: got %d, want 0", p.Used())
	}
}

func TestNoAllocations(t *testing.T) {
	p := stream.NewPool(stream.Config{})
	data := make([]byte, 1448)
	cycle := func() {
		a := p.Get(stream.Owner{})
		a.Init(7)
		for i := range uint32(8) {
			a.Push(7+(i^1)*1448, data, 1448) // every pair swapped
			a.Consume(len(a.Head()) / 2)
			a.Keep()
		}
		p.Put(a)
	}
	cycle()
	if got := testing.AllocsPerRun(1000, cycle); got != 0 {
		t.Errorf("allocations from Get to Put: got %v, want 0", got)
	}
}

// FuzzAssembler reads steps from bytes: the result is always a model's bytes (the first that
// arrived for each offset), and the bounds hold.
func FuzzAssembler(f *testing.F) {
	f.Add(uint32(0), []byte{0, 0, 3, 'x', 0, 6, 3, 'y', 0, 3, 3, 'z'})
	f.Add(uint32(1<<32-4), []byte{0, 9, 3, 1, 1, 0, 4, 2, 2, 5, 0, 0, 0, 0, 9, 7, 3, 1, 1, 1})
	f.Add(uint32(5), []byte{1, 0, 8, 1, 0, 20, 8, 2, 2, 14, 9, 9, 3, 0, 0, 0, 0, 8, 40, 3})
	f.Fuzz(func(t *testing.T, isn uint32, in []byte) {
		p := stream.NewPool(stream.Config{Budget: 16 << 10, Window: 1024, Segments: 8})
		a := p.Get(stream.Owner{})
		a.Init(isn)
		m := model{t: t, first: map[int]byte{}, gone: map[int]bool{}}
		for ; len(in) >= 4 && !a.Overflow(); in = in[4:] {
			at, n := int(a.Offset())+int(int8(in[1]))*4, int(in[2])
			if at < 0 {
				at = 0
			}
			switch in[0] % 4 {
			case 0, 1:
				wire := n
				if in[0]%4 == 1 {
					wire += 30
				}
				if out := a.Push(isn+uint32(at), bytes.Repeat(in[3:4], n), wire); !out.Overflow {
					m.push(at, n, wire, in[3])
				}
			case 2:
				a.Lost(isn + uint32(at))
				for i := int(a.Offset()); i < at; i++ {
					m.lose(i)
				}
			case 3:
				a.Skip()
			}
			m.check(a)
			a.Consume(int(in[1]) % (len(a.Head()) + 1))
			a.Keep()
		}
		p.Put(a)
		if p.Used() != 0 {
			t.Fatalf("used after Put: got %d, want 0", p.Used())
		}
	})
}

type model struct {
	t     *testing.T
	first map[int]byte
	gone  map[int]bool
}

func (m *model) lose(i int) {
	if _, ok := m.first[i]; !ok {
		m.gone[i] = true
	}
}

func (m *model) push(at, n, wire int, b byte) {
	for i := at; i < at+wire; i++ {
		if _, ok := m.first[i]; ok || m.gone[i] {
			continue
		}
		if i < at+n {
			m.first[i] = b
		} else {
			m.gone[i] = true
		}
	}
}

func (m *model) check(a *stream.Assembler) {
	if a.Overflow() {
		return
	}
	at := int(a.Offset())
	for i, b := range a.Head() {
		if want, ok := m.first[at+i]; !ok || want != b {
			m.t.Fatalf("byte %d: got %d, want %d %v", at+i, b, want, ok)
		}
	}
	end := at + len(a.Head())
	if _, more := m.first[end]; more {
		m.t.Fatalf("byte %d: not in the head", end)
	}
	gap := 0
	for ; m.gone[end+gap]; gap++ {
	}
	if got := a.Gap(); got != gap {
		m.t.Fatalf("gap at %d: got %d, want %d", end, got, gap)
	}
}

func BenchmarkPush(b *testing.B) {
	data := make([]byte, 1448)
	for _, c := range []struct {
		name string
		swap uint32
		use  int
	}{{"in order, all used", 0, 1448}, {"in order, half used", 0, 724}, {"swapped", 1, 1448 * 2}} {
		b.Run(c.name, func(b *testing.B) {
			p := stream.NewPool(stream.Config{})
			a := p.Get(stream.Owner{})
			b.ReportAllocs()
			for i := range b.N {
				if i%16 == 0 {
					a.Init(0)
				}
				a.Push((uint32(i%16)^c.swap)*1448, data, 1448)
				a.Consume(c.use)
				a.Keep()
			}
		})
	}
}
