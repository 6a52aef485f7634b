package handover_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/sluicenet/sluice/core/handover"
	"github.com/sluicenet/sluice/core/packet"
)

// TestEachFrameIsJudgedOnce moves an endpoint from a tap, which sees every frame, to a queue, which sees them from some moment on, with
// frames in random order around the cut: each one is judged by one of the two workers, and none by both.
func TestEachFrameIsJudgedOnce(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		var tap, inline handover.Gate
		judged := map[string]int{}
		give := func(g *handover.Gate, stamp int64) {
			f := packet.Frame{Endpoint: 1, Stamp: stamp, Dir: []packet.Direction{in, out}[stamp%2], Data: fmt.Append(nil, stamp)}
			if g.Ask(&f, stamp) == handover.Judge {
				judged[string(f.Data)]++
			}
		}
		cut := int64(100)
		inline.Shadow(1, true)
		// The tap sees all frames, and some of those from after the cut before the last from before it.
		late := map[int64]bool{}
		for stamp := int64(1); stamp < cut; stamp++ {
			late[stamp] = stamp > cut-10 && r.IntN(2) == 0
			if !late[stamp] {
				give(&tap, stamp)
			}
		}
		tap.Cut(1, cut)
		for stamp := cut - 9; stamp < cut; stamp++ {
			if late[stamp] {
				give(&tap, stamp)
			}
		}
		end := cut + 1 + int64(r.IntN(50))
		for stamp := cut; stamp < end; stamp++ {
			give(&tap, stamp)
			give(&inline, stamp) // it passes, and a copy is kept
		}
		if !tap.Drained(1, 1, end, func() bool { return true }) {
			t.Fatalf("seed %d: a frame from after the cut was seen, and the tap has more to judge", seed)
		}
		tap.Move(1)
		for _, f := range inline.Begin(1) {
			if f.Stamp >= cut {
				judged[string(f.Data)]++ // the sessions are there now
			}
		}
		for stamp := end; stamp < end+20; stamp++ {
			give(&tap, stamp)
			give(&inline, stamp)
		}
		for stamp := int64(1); stamp < end+20; stamp++ {
			if n := judged[fmt.Sprint(stamp)]; n != 1 {
				t.Fatalf("seed %d: frame %d of %d was judged %d times, want once (cut at %d)", seed, stamp, end+20, n, cut)
			}
		}
	}
}

// TestBackToTheTap is the other way: the tap that begins at the cut must not judge again what the queue judged before it, however late its
// ring shows it.
func TestBackToTheTap(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 4))
		var inline, tap handover.Gate
		judged := map[int64]int{}
		give := func(g *handover.Gate, stamp int64) {
			f := packet.Frame{Endpoint: 1, Stamp: stamp, Dir: out}
			if g.Ask(&f, stamp) == handover.Judge {
				judged[stamp]++
			}
		}
		cut := int64(50 + r.IntN(50))
		for stamp := int64(1); stamp < cut; stamp++ {
			give(&inline, stamp)
		}
		inline.Move(1)
		tap.Since(1, cut)
		order := r.Perm(150)
		for _, i := range order {
			give(&tap, int64(i)+1)
		}
		for stamp := int64(1); stamp <= 150; stamp++ {
			if judged[stamp] != 1 {
				t.Fatalf("seed %d: frame %d was judged %d times, want once (cut at %d)", seed, stamp, judged[stamp], cut)
			}
		}
	}
}

// TestGateNeverStaysBusy: whatever was asked of an endpoint, Forget makes it live, and a gate that only has live endpoints judges all.
func TestGateNeverStaysBusy(t *testing.T) {
	steps := []func(g *handover.Gate, r *rand.Rand){
		func(g *handover.Gate, r *rand.Rand) { g.Shadow(1, r.IntN(2) == 0) },
		func(g *handover.Gate, r *rand.Rand) { g.Cut(1, int64(r.IntN(100))) },
		func(g *handover.Gate, r *rand.Rand) { g.Move(1) },
		func(g *handover.Gate, r *rand.Rand) { g.Expect(1, in, int64(r.IntN(2000))) },
		func(g *handover.Gate, r *rand.Rand) { g.Begin(1) },
		func(g *handover.Gate, r *rand.Rand) { g.Since(1, int64(r.IntN(100))) },
		func(g *handover.Gate, r *rand.Rand) { g.Skim(1, out) },
		func(g *handover.Gate, r *rand.Rand) { g.EndSkim(1) },
		func(g *handover.Gate, r *rand.Rand) {
			g.Drained(1, r.IntN(2), int64(r.IntN(200)), func() bool { return r.IntN(2) == 0 })
		},
	}
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 5))
		var g handover.Gate
		for range 50 {
			steps[r.IntN(len(steps))](&g, r)
			answer := asks(&g, int64(r.IntN(200)), in)
			switch state := g.State(1); {
			case answer == "":
				t.Fatalf("seed %d: no answer in state %v", seed, state)
			case state == handover.Shadow && answer != "skip" && answer != "stranger", state == handover.Moved && (answer == "judge" || answer == "judged"):
				t.Fatalf("seed %d: %s in state %v", seed, answer, state)
			}
			other := packet.Frame{Endpoint: 2, Stamp: 1, Dir: in}
			if g.Ask(&other, 1000) != handover.Judge {
				t.Fatalf("seed %d: another endpoint's frame is not judged", seed)
			}
		}
		g.Forget(1)
		for stamp := range int64(200) {
			want(t, &g, "forgotten", stamp, out, "judge")
		}
	}
}
