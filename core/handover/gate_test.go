package handover_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/handover"
	"github.com/sluicenet/sluice/core/packet"
)

const (
	in  = packet.Ingress
	out = packet.Egress
)

var names = map[handover.Answer]string{handover.Judge: "judge", handover.Skip: "skip", handover.Stranger: "stranger", handover.Late: "late", handover.Judged: "judged"}

// asks returns the answer for a frame of endpoint 1 with a stamp, in a direction.
func asks(g *handover.Gate, stamp int64, dir packet.Direction) string {
	f := packet.Frame{Endpoint: 1, Stamp: stamp, Dir: dir, Data: []byte("frame")}
	return names[g.Ask(&f, 1000)]
}

func want(t *testing.T, g *handover.Gate, what string, stamp int64, dir packet.Direction, want string) {
	t.Helper()
	if got := asks(g, stamp, dir); got != want {
		t.Errorf("%s, stamp %d, %v: %s, want %s", what, stamp, dir, got, want)
	}
}

func state(t *testing.T, g *handover.Gate, want handover.State) {
	t.Helper()
	if got := g.State(1); got != want {
		t.Errorf("the endpoint is %v, want %v", got, want)
	}
}

// TestTapToInline follows both workers of an endpoint through a cut at 100.
func TestTapToInline(t *testing.T) {
	var tap, inline handover.Gate
	want(t, &tap, "before anything", 50, out, "judge")
	state(t, &tap, handover.Live)
	inline.Shadow(1, true)
	state(t, &inline, handover.Shadow)
	want(t, &inline, "before the cut", 60, out, "skip")
	tap.Cut(1, 100)
	state(t, &tap, handover.Draining)
	want(t, &tap, "before the cut", 99, in, "judge")
	want(t, &tap, "after it", 100, in, "skip")
	want(t, &inline, "after it", 120, in, "skip")
	tap.Move(1)
	state(t, &tap, handover.Moved)
	want(t, &tap, "moved", 130, out, "skip") // the inline worker counts it
	want(t, &tap, "what came late to the ring", 90, out, "stranger")
	kept := inline.Begin(1)
	if len(kept) != 2 || kept[0].Stamp != 60 || kept[1].Stamp != 120 || kept[1].Dir != in || string(kept[0].Data) != "frame" {
		t.Errorf("kept %+v, want both frames in order", kept)
	}
	state(t, &inline, handover.Live)
	want(t, &inline, "arrived", 140, out, "judge")
	if again := inline.Begin(1); again != nil {
		t.Errorf("kept %d frames of an endpoint that is live", len(again))
	}
}

// TestInlineToTap checks that the tap ignores what the inline datapath has judged.
func TestInlineToTap(t *testing.T) {
	var g handover.Gate
	g.Begin(1)
	g.Since(1, 100)
	state(t, &g, handover.Live)
	want(t, &g, "before the cut", 99, out, "skip")
	want(t, &g, "after it", 100, out, "judge")
	want(t, &g, "long after it", 100+int64(11e9), out, "judge")
	want(t, &g, "after that the cut is removed", 99, out, "judge")
}

// TestExchange has one direction arrive late at the old datapath, and the other judged
// already at the new one.
func TestExchange(t *testing.T) {
	var from, to handover.Gate
	to.Shadow(1, false)
	want(t, &to, "shadow that keeps nothing", 10, out, "stranger")
	from.Move(1)
	from.Expect(1, in, 1000)
	want(t, &from, "late", 10, in, "late")
	want(t, &from, "the other direction", 10, out, "stranger")
	from.Expect(1, in, 999) // now is 1000
	want(t, &from, "too late", 10, in, "stranger")
	to.Begin(1)
	to.Skim(1, out)
	want(t, &to, "skimmed", 10, out, "judged")
	want(t, &to, "the other direction", 10, in, "judge")
	want(t, &to, "long after", int64(60e9), out, "judged")
	to.EndSkim(1)
	want(t, &to, "afterwards", 10, out, "judge")
	to.EndSkim(1)
	to.Move(1)
	to.EndSkim(1) // not its state
	state(t, &to, handover.Moved)
}

// TestOthersAreNotConcerned queries another endpoint meanwhile.
func TestOthersAreNotConcerned(t *testing.T) {
	var g handover.Gate
	g.Shadow(2, true)
	g.Cut(3, 1)
	g.Move(4)
	want(t, &g, "another", 50, out, "judge")
	g.Expect(1, in, 5000)
	g.EndSkim(1)
	want(t, &g, "what was never moved", 50, in, "judge")
	for id := range uint32(5) {
		g.Forget(id)
		if got := g.State(id); got != handover.Live {
			t.Errorf("endpoint %d is %v after Forget", id, got)
		}
	}
}

// TestDrained has a tap's queue empty, full, or fuller than Recv shows.
func TestDrained(t *testing.T) {
	yes, no := func() bool { return true }, func() bool { return false }
	for _, tt := range []struct {
		name     string
		received int
		now      int64
		waiting  func() bool
		later    bool // a frame from after the cut was seen
		want     bool
	}{
		{"before the cut", 0, 99, no, false, false},
		{"at the cut, and nothing waits", 0, 100, no, false, true},
		{"frames came", 3, 200, no, false, false},
		{"frames wait that Recv does not find", 0, 200, yes, false, false},
		{"a later frame came", 3, 99, yes, true, true},
	} {
		var g handover.Gate
		g.Cut(1, 100)
		if tt.later {
			want(t, &g, tt.name, 101, in, "skip")
		}
		if got := g.Drained(1, tt.received, tt.now, tt.waiting); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	var g handover.Gate
	if !g.Drained(1, 5, 0, yes) {
		t.Error("an endpoint without a cut is waited for")
	}
}

// TestUnstamped uses the present time where a backend sets no stamp.
func TestUnstamped(t *testing.T) {
	var g handover.Gate
	g.Cut(1, 1000)
	want(t, &g, "now is at the cut", 0, out, "skip")
	g.Cut(1, 1001)
	want(t, &g, "now is before the cut", 0, out, "judge")
}

// TestKeptIsBounded floods a shadow: frames that are not kept pass as a stranger's.
func TestKeptIsBounded(t *testing.T) {
	var g handover.Gate
	g.Shadow(1, true)
	data := make([]byte, 4096)
	kept := 0
	for range 20_000 {
		f := packet.Frame{Endpoint: 1, Dir: out, Data: data, Stamp: 5}
		if g.Ask(&f, 5) == handover.Skip {
			kept++
		}
	}
	frames, size := g.Begin(1), 0
	for _, f := range frames {
		size += len(f.Data)
		if len(f.Data) != 2048 || f.Flags&packet.Truncated == 0 {
			t.Fatalf("%d bytes of a frame are kept, flags %v", len(f.Data), f.Flags)
		}
	}
	if len(frames) != kept || size != 16<<20 {
		t.Errorf("%d frames of %d bytes, %d were skipped", len(frames), size, kept)
	}
}

// TestStateNames checks the names in logs.
func TestStateNames(t *testing.T) {
	for s, want := range map[handover.State]string{handover.Live: "live", handover.Shadow: "shadow", handover.Draining: "draining", handover.Moved: "moved"} {
		if got := s.String(); got != want {
			t.Errorf("state %d is %q, want %q", s, got, want)
		}
	}
}

func TestAskDoesNotAllocate(t *testing.T) {
	var g handover.Gate
	f := packet.Frame{Endpoint: 1, Dir: out, Stamp: 5}
	if n := testing.AllocsPerRun(100, func() { g.Ask(&f, 5) }); n != 0 {
		t.Errorf("%v allocations while nothing moves, want 0", n)
	}
	g.Move(2)
	if n := testing.AllocsPerRun(100, func() { g.Ask(&f, 5) }); n != 0 {
		t.Errorf("%v allocations while another endpoint moves, want 0", n)
	}
}

func BenchmarkAsk(b *testing.B) {
	var g handover.Gate
	f := packet.Frame{Endpoint: 1, Dir: out, Stamp: 5}
	b.ReportAllocs()
	for b.Loop() {
		g.Ask(&f, 5)
	}
}

// TestDrainedByAnother: where a queue has the frames of several taps in order, one that another tap
// captured after the cut shows that all from before it have come.
func TestDrainedByAnother(t *testing.T) {
	const cut = int64(1e9)
	for _, c := range []struct {
		name  string
		stamp int64
		want  bool
	}{{"before", cut - 1, false}, {"at the same time, which may be out of order", cut, false}, {"after", cut + 1e6, true}} {
		var g handover.Gate
		g.Cut(1, cut)
		if a := g.Ask(&packet.Frame{Endpoint: 2, Stamp: c.stamp}, c.stamp); a != handover.Judge {
			t.Errorf("%s: the other's frame: %v", c.name, a)
		}
		if got := g.Drained(1, 1, cut+2e6, func() bool { return true }); got != c.want {
			t.Errorf("%s: drained is %v, want %v", c.name, got, c.want)
		}
	}
}
