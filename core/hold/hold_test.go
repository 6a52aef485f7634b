package hold_test

import (
	"fmt"
	"testing"

	"github.com/sluicenet/sluice/core/hold"
	"github.com/sluicenet/sluice/core/packet"
)

const ms = int64(1e6)

func frame(text string) *packet.Frame { return &packet.Frame{Data: []byte(text), Endpoint: 7} }

func texts(frames []packet.Frame) (out []string) {
	for _, f := range frames {
		out = append(out, string(f.Data))
	}
	return out
}

// put holds packets of a session, each of them part of one request more.
func put(r *hold.Room, n uint32, list ...string) {
	for i, text := range list {
		r.Wait(n, 0, hold.Times{Hold: 1000 * ms})
		r.Put(n, frame(text), hold.Piece{Asked: uint32(i + 1)})
	}
}

// TestOrderIsKept takes the packets that an answer covers, in order of arrival, and no more.
func TestOrderIsKept(t *testing.T) {
	var r hold.Room
	put(&r, 3, "a", "b", "c", "d")
	put(&r, 1, "x")
	for _, step := range []struct {
		n     uint32
		asked uint32
		want  []string
		left  int
	}{{3, 1, []string{"a"}, 3}, {1, 9, []string{"x"}, 0}, {3, 3, []string{"b", "c"}, 1}, {3, 0, nil, 1}, {2, 5, nil, 0}, {3, 5, []string{"d"}, 0}, {3, 1, nil, 0}, {99, 1, nil, 0}} {
		if got := texts(r.Take(step.n, step.asked)); fmt.Sprint(got) != fmt.Sprint(step.want) || r.Len(step.n) != step.left {
			t.Errorf("up to %d of %d: %v, %d left, want %v, %d", step.asked, step.n, got, r.Len(step.n), step.want, step.left)
		}
	}
	if r.Bytes() != 0 {
		t.Errorf("%d bytes are held of nothing", r.Bytes())
	}
}

// TestFramesAreCopied reuses the caller's memory.
func TestFramesAreCopied(t *testing.T) {
	var r hold.Room
	f := frame("abc")
	r.Wait(1, 0, hold.Times{Hold: ms})
	r.Put(1, f, hold.Piece{})
	f.Data[0], f.Endpoint = 'z', 1
	if got := r.TakeAll(1); string(got[0].Data) != "abc" || got[0].Endpoint != 7 {
		t.Errorf("got %q of endpoint %d", got[0].Data, got[0].Endpoint)
	}
}

func TestDeadlines(t *testing.T) {
	at := func(now int64, r *hold.Room) string {
		return [...]string{"not yet", "quiet", "expired"}[r.Due(1, now)]
	}
	for _, tt := range []struct {
		name string
		with hold.Times
		more []int64 // when further packets arrive
		want map[int64]string
	}{
		{"hold time alone", hold.Times{Hold: 1000 * ms}, nil, map[int64]string{0: "not yet", 999 * ms: "not yet", 1000 * ms: "expired", 5000 * ms: "expired"}},
		{"a pause", hold.Times{Hold: 1000 * ms, Pause: 200 * ms}, nil, map[int64]string{199 * ms: "not yet", 200 * ms: "quiet", 5000 * ms: "quiet"}},
		{"pieces", hold.Times{Hold: 1000 * ms, Pause: 200 * ms}, []int64{150 * ms, 300 * ms}, map[int64]string{350 * ms: "not yet", 500 * ms: "quiet"}},
		{"pieces until the end", hold.Times{Hold: 300 * ms, Pause: 200 * ms}, []int64{150 * ms, 250 * ms}, map[int64]string{299 * ms: "not yet", 300 * ms: "expired"}},
		{"a pause longer than the hold time", hold.Times{Hold: 100 * ms, Pause: 200 * ms}, nil, map[int64]string{99 * ms: "not yet", 100 * ms: "expired"}},
	} {
		var r hold.Room
		for _, now := range append([]int64{0}, tt.more...) {
			until := r.Wait(1, now, tt.with)
			r.Put(1, frame("x"), hold.Piece{})
			if got := r.Until(1); got != until {
				t.Errorf("%s: until %d, then %d", tt.name, until, got)
			}
		}
		for now, want := range tt.want {
			if got := at(now, &r); got != want {
				t.Errorf("%s: after %d ms %s, want %s", tt.name, now/ms, got, want)
			}
		}
		r.TakeAll(1)
		if got := at(1<<60, &r); got != "not yet" || r.Until(1) != 0 {
			t.Errorf("%s: nothing is held, and it is %s", tt.name, got)
		}
	}
}

// TestHoldTimeBeginsAgain holds again after everything was taken.
func TestHoldTimeBeginsAgain(t *testing.T) {
	var r hold.Room
	put(&r, 1, "x")
	r.TakeAll(1)
	if got := r.Wait(1, 5000*ms, hold.Times{Hold: 1000 * ms}); got != 6000*ms {
		t.Errorf("until %d ms, want 6000", got/ms)
	}
}

func TestExtend(t *testing.T) {
	var r hold.Room
	r.Wait(1, 0, hold.Times{Hold: 1000 * ms, Pause: 200 * ms})
	r.Put(1, frame("x"), hold.Piece{})
	if got := r.Extend(1, 200*ms, 200*ms); got != 400*ms || r.Due(1, 399*ms) != hold.NotYet || r.Due(1, 400*ms) != hold.Quiet {
		t.Errorf("until %d ms, want 400", got/ms)
	}
	if got := r.Extend(1, 900*ms, 200*ms); got != 1000*ms || r.Due(1, 1000*ms) != hold.Expired {
		t.Errorf("until %d ms, want no longer than the hold time", got/ms)
	}
}

// TestAlarm reports the earliest deadline, in any order of arrival.
func TestAlarm(t *testing.T) {
	var r hold.Room
	if got := r.Alarm(0); got != 0 {
		t.Errorf("an empty room has an alarm at %d", got)
	}
	r.Wait(1, 0, hold.Times{Hold: 1000 * ms, Pause: 10 * ms})
	r.Put(1, frame("x"), hold.Piece{})
	r.Wait(2, 0, hold.Times{Hold: 1000 * ms, Pause: 200 * ms})
	r.Put(2, frame("x"), hold.Piece{})
	if got := r.Alarm(0); got != 10*ms {
		t.Errorf("alarm at %d ms, want 10", got/ms)
	}
	r.TakeAll(1)
	// The other one is due at 200 ms: it is checked repeatedly until then.
	for now := int64(10 * ms); now < 200*ms; {
		next := r.Alarm(now)
		if next <= now {
			t.Fatalf("at %d ms the alarm is at %d ms", now/ms, next/ms)
		}
		now = next
		if now > 220*ms {
			t.Errorf("the alarm comes at %d ms, want it soon after 200", now/ms)
		}
	}
	r.TakeAll(2)
	if got := r.Alarm(300 * ms); got != 0 {
		t.Errorf("alarm at %d while nothing is held", got)
	}
}

// TestSteadyStateDoesNotAllocate except for the copies themselves.
func TestSteadyStateDoesNotAllocate(t *testing.T) {
	var r hold.Room
	f := frame("")
	f.Data = nil
	round := func() {
		for range 8 {
			r.Wait(1, 0, hold.Times{Hold: ms})
			r.Put(1, f, hold.Piece{})
		}
		r.Compare(1, hold.Piece{Stream: true, Seq: 1, End: 2, At: 4}, []byte("x"))
		r.Take(1, 0)
		r.TakeAll(1)
	}
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations a round, want 0", n)
	}
}
