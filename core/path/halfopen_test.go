package path_test

import (
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/policy"
)

// handshakeRepeats is when Linux sends a SYN, or a SYN+ACK, without an answer, with the last ones of
// sysctls set higher than they are by default; seconds.
var handshakeRepeats = map[string][]float64{
	"S":  {0, 1, 2, 3.1, 4.1, 5.2, 7.3, 11.5, 19.7, 36.1, 69.3, 136},
	"SA": {0, 1, 3.1, 7.3, 15.6, 32.3, 66},
}

// TestHalfOpen: however often a SYN or a SYN+ACK is repeated in vain, it is one session with all of
// its packets, in every mode, and it was never established.
func TestHalfOpen(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Discover, policy.Monitor, policy.Protect} {
		for flags, times := range handshakeRepeats {
			t.Run(mode.String()+" "+flags, func(t *testing.T) {
				both(t, func(t *testing.T, v6 bool) { halfOpen(t, v6, mode, flags, times) })
			})
		}
	}
}

func halfOpen(t *testing.T, v6 bool, mode policy.Mode, flags string, times []float64) {
	s := newStage(t, mode)
	w := policy.WorkloadSpec{Mode: mode}
	s.policy(1, w, allow(7, 6, 8080))
	c := newConn(v6, 40000, 8080)
	end, want := 0, [2]uint64{uint64(len(times)), 0}
	if flags == "SA" {
		s.give(c.seg(t, 0, "S", ""))
		end, want = 1, [2]uint64{1, uint64(len(times))}
	}
	for _, at := range times {
		s.pass(time.Duration(begin+int64(at*1e9)-s.now), 200*time.Millisecond)
		c.seq[end] = 5000
		s.give(c.seg(t, end, flags, ""))
	}
	s.pass(3*time.Minute, time.Second)
	var sum flow.Counters
	var last flow.Record
	for _, r := range s.all {
		if r.Session != s.all[0].Session {
			t.Fatalf("a second session: %+v", r)
		}
		sum.Add(&r.Counters)
		last = r
	}
	if sum.Packets != want || last.Kind != flow.End || last.Outcome != flow.OutcomeUnanswered || last.Answered {
		t.Errorf("packets %v, last %+v, want %v and an end without an answer", sum.Packets, last, want)
	}
}
