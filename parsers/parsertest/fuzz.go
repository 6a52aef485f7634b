package parsertest

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// maxFuzz bounds each side's bytes of a fuzzed conversation.
const maxFuzz = parsers.MaxHead - 1

// maxWork is what one fuzzed conversation, replayed several times byte by byte, may take: it finds
// what grows with the square of its input, not what is a little slow.
const maxWork = 5 * time.Second

// Bits of the fuzz target's flags.
const (
	flagUDP = 1 << iota
	flagMidstream
	flagServerFirst
)

// Fuzz gives a parser random bytes in random segments, beginning with the cases of "testdata". Nothing
// may panic or hang, Used stays within bounds, a probe that has settled stays as
// it is for every longer head, and the cut does not change the findings.
func Fuzz(f *testing.F, p parsers.Parser, id app.ID) {
	cases, err := Load("testdata")
	if err != nil {
		f.Fatal(err)
	}
	for i := range cases {
		c := &cases[i]
		var flags uint8
		if c.Meta.Datagram() {
			flags |= flagUDP
		}
		if c.Meta.Midstream {
			flags |= flagMidstream
		}
		if c.Messages[0].Dir == parsers.ToClient {
			flags |= flagServerFirst
		}
		f.Add(uint64(i), flags, join(c.Messages, parsers.ToServer), join(c.Messages, parsers.ToClient))
	}
	f.Fuzz(func(t *testing.T, seed uint64, flags uint8, client, server []byte) {
		start := time.Now()
		fuzzOne(t, p, id, seed, flags, [2][]byte{client[:min(len(client), maxFuzz)], server[:min(len(server), maxFuzz)]})
		if took := time.Since(start); took > maxWork {
			t.Errorf("took %v", took)
		}
	})
}

func join(messages []Message, dir parsers.Dir) []byte {
	var out []byte
	for _, m := range messages {
		if m.Dir == dir {
			out = append(out, m.Data...)
		}
	}
	return out[:min(len(out), maxFuzz)]
}

func fuzzOne(t *testing.T, p parsers.Parser, id app.ID, seed uint64, flags uint8, sides [2][]byte) {
	meta := defaultMeta()
	if flags&flagUDP != 0 {
		meta.Proto = 17
	}
	meta.Midstream = flags&flagMidstream != 0
	for dir, b := range sides {
		if !meta.Datagram() {
			monotone(t, p, &meta, parsers.Dir(dir), b)
		} else if c, ok := p.(parsers.Continuing); ok {
			for n := range min(len(b)+1, 64) { // no length panics, and the answer depends on the bytes alone
				if c.Continues(&meta, b[:n:n]) != c.Continues(&meta, b[:n]) {
					t.Errorf("continues: two answers about %d bytes", n)
				}
			}
		}
	}
	first := parsers.ToServer
	if flags&flagServerFirst != 0 {
		first = parsers.ToClient
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	whole := []Message{{Dir: first, Data: sides[first]}, {Dir: first.Reverse(), Data: sides[first.Reverse()]}}
	want, err := Replay(p, id, meta, whole)
	if err != nil {
		t.Errorf("whole: %v", err)
	}
	if !meta.Datagram() {
		got, err := Replay(p, id, meta, randomCuts(rng, whole, 0))
		if err != nil {
			t.Errorf("cut: %v", err)
		}
		if got.String() != want.String() {
			t.Errorf("cut: got\n%swhole\n%s", got, want)
		}
	}
	if _, err := Replay(p, id, meta, interleave(rng, randomCuts(rng, whole, 8))); err != nil {
		t.Errorf("with gaps: %v", err)
	}
}

// monotone asks for every short head and some long ones.
func monotone(t *testing.T, p parsers.Parser, m *parsers.Meta, dir parsers.Dir, b []byte) {
	settled := parsers.More
	for n := 1; n <= len(b); n += 1 + n/64 {
		got := p.Probe(m, dir, b[:n])
		if settled != parsers.More && got != settled {
			t.Fatalf("probe %s: %s with %d bytes, %s with fewer", dir, got, n, settled)
		}
		settled = got
	}
}

// randomCuts cuts messages anywhere; of gaps in 100 pieces, so many are lost.
func randomCuts(rng *rand.Rand, messages []Message, gaps int) []Message {
	var out []Message
	longest := 1 + rng.IntN(200)
	for _, m := range messages {
		for b := m.Data; len(b) > 0; {
			n := min(1+rng.IntN(longest), len(b))
			piece := Message{Dir: m.Dir, Data: b[:n]}
			if rng.IntN(100) < gaps {
				piece = Message{Dir: m.Dir, Gap: n}
				if rng.IntN(2) == 0 {
					piece.Gap = -1
				}
			}
			out, b = append(out, piece), b[n:]
		}
	}
	return out
}

// interleave mixes the two sides' messages, each side in order.
func interleave(rng *rand.Rand, messages []Message) []Message {
	sides := [2][]Message{oneSide(messages, parsers.ToServer), oneSide(messages, parsers.ToClient)}
	out := make([]Message, 0, len(messages))
	for len(sides[0])+len(sides[1]) > 0 {
		d := rng.IntN(2)
		if len(sides[d]) == 0 {
			d = 1 - d
		}
		out, sides[d] = append(out, sides[d][0]), sides[d][1:]
	}
	return out
}
