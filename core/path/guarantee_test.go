package path_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// sent is a part of what the client sends.
type sent struct {
	at   int
	text string
}

// cuts returns a text in pieces of n bytes, the first of which has first bytes.
func cuts(text string, first, n int) (out []sent) {
	for at, size := 0, first; at < len(text); at, size = at+size, n {
		out = append(out, sent{at, text[at:min(at+size, len(text))]})
	}
	return out
}

// orders are the orders in which pieces arrive.
var orders = map[string]func([]sent) []sent{
	"in order": func(p []sent) []sent { return p },
	"reverse": func(p []sent) (out []sent) {
		for i := range p {
			out = append(out, p[len(p)-1-i])
		}
		return out
	},
	"the second first": func(p []sent) []sent {
		out := append([]sent{}, p...)
		if len(out) > 1 {
			out[0], out[1] = out[1], out[0]
		}
		return out
	},
}

// repeats are what a client sends again.
var repeats = map[string]func(p []sent, text string) []sent{
	"nothing again": func(p []sent, _ string) []sent { return p },
	"each again": func(p []sent, _ string) (out []sent) {
		for _, x := range p {
			out = append(out, x, x)
		}
		return out
	},
	"all again": func(p []sent, text string) []sent { return append(append([]sent{}, p...), sent{0, text}) },
	"from the first again": func(p []sent, text string) (out []sent) {
		for _, x := range p {
			out = append(out, x, sent{0, text[:x.at+len(x.text)]})
		}
		return out
	},
}

const forbidden = "GET k\r\nSET pwned 1\r\n" // redis

// run sends a text by a plan and returns the wire, at which all is over.
func run(t *testing.T, reg *parsers.Registry, pl *plan, pieces []sent, pause time.Duration) (*wire, *conn) {
	w := pl.lab(t, reg)
	c := newConn(pl.v6, 40000, 8080)
	w.open(c)
	at := c.seq
	for i, x := range pieces {
		if i == 1 {
			w.pass(pause)
		}
		c.seq = [2]uint32{at[0] + uint32(x.at), at[1]}
		w.carry(0, 0, c.seg(t, 0, "A", x.text))
	}
	c.seq = at
	w.pass(2 * time.Second)
	return w, c
}

// every calls fn for each combination of placement, ends, family and queue.
func every(hold time.Duration, proto uint8, apps []app.ID, fn func(pl *plan)) {
	for _, place := range []string{"in process", "plugin", "slow plugin", "no answer"} {
		for _, ends := range []string{"client", "server", "both"} {
			for _, v6 := range []bool{false, true} {
				for _, inside := range []bool{false, true} {
					fn(&plan{ends: ends, v6: v6, place: place, inside: inside, hold: hold, proto: proto, apps: apps})
				}
			}
		}
	}
}

// TestNothingUndecidedIsDelivered tries all combinations of what a client can do with the
// pieces of a request, where it is judged, and how: of an application that no rule allows not a
// byte arrives, and both ends are reset. One that is allowed arrives whole.
func TestNothingUndecidedIsDelivered(t *testing.T) {
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	const hold = time.Second
	runs := 0
	for _, cut := range [][2]int{{100, 100}, {1, 1}, {3, 3}, {4, 100}} {
		for _, pause := range []time.Duration{0, 30 * time.Millisecond, 300 * time.Millisecond, 700 * time.Millisecond, 2500 * time.Millisecond} {
			for order, arrange := range orders {
				for again, repeat := range repeats {
					every(hold, 6, []app.ID{app.HTTP}, func(pl *plan) {
						runs++
						name := fmt.Sprintf("cut %v, pause %v, %s, %s, %+v", cut, pause, order, again, *pl)
						w, _ := run(t, reg, pl, repeat(arrange(cuts(forbidden, cut[0], cut[1])), forbidden), pause)
						if w.end[0].bytes != 0 {
							t.Fatalf("%s: %d bytes of a denied application arrived", name, w.end[0].bytes)
						}
						if !w.end[0].reset || !w.end[1].reset {
							t.Fatalf("%s: reset: the server %v, the client %v; not accepted %d, %d", name, w.end[0].reset, w.end[1].reset, w.end[0].wrong, w.end[1].wrong)
						}
						if pl.place == "no answer" || pause > hold {
							return // then this one is refused, too
						}
						w, c := run(t, reg, pl, repeat(arrange(cuts(request, cut[0], cut[1])), request), pause)
						if got := w.end[0].text(c.seq[0]); got != request {
							t.Fatalf("%s: %q of an allowed request arrived; resets %v, %v", name, got, w.end[0].reset, w.end[1].reset)
						}
					})
				}
			}
		}
	}
	t.Logf("%d combinations", runs)
}

// TestOtherBytesAgain sends what is allowed, and other bytes with the same numbers: whichever
// a receiver would use, it gets one of them alone, and what it gets was judged.
func TestOtherBytesAgain(t *testing.T) {
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	evil := forbidden + string(bytes.Repeat([]byte{'x'}, len(request)-len(forbidden)))
	for name, pieces := range map[string][]sent{
		"a larger one over a smaller, then the gap": {{4, request[4:20]}, {2, evil[2:]}, {20, request[20:]}, {0, request[:4]}},
		"all again before the gap is closed":        {{1, request[1:]}, {0, evil}, {0, request[:1]}},
		"the beginning with other bytes":            {{0, request[:4]}, {0, evil[:6]}, {4, request[4:]}},
		"the same length":                           {{0, request[:9]}, {0, evil[:9]}, {9, request[9:]}},
		"the tail of the first":                     {{0, request[:9]}, {5, evil[5:]}, {9, request[9:]}},
	} {
		every(time.Second, 6, []app.ID{app.HTTP}, func(pl *plan) {
			if pl.place == "no answer" {
				return
			}
			w, c := run(t, reg, pl, pieces, 20*time.Millisecond)
			if got := w.end[0].text(c.seq[0]); got != request && got != "" {
				t.Fatalf("%s, %+v: %q arrived, want what was judged: %q", name, *pl, got, request)
			}
		})
	}
}

// TestDatagramsWait holds datagrams like segments.
func TestDatagramsWait(t *testing.T) {
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 3} {
		for _, pause := range []time.Duration{0, 300 * time.Millisecond, 2500 * time.Millisecond} {
			every(time.Second, 17, []app.ID{app.SIP}, func(pl *plan) {
				w := pl.lab(t, reg)
				for range n {
					w.carry(0, 0, udp(t, pl.v6, 0, 40000, 8080, "no application has this\x00\x01"))
					w.pass(pause)
				}
				w.pass(3 * time.Second)
				if w.end[0].bytes != 0 {
					t.Fatalf("%d datagrams, pause %v, %+v: %d bytes arrived", n, pause, *pl, w.end[0].bytes)
				}
			})
		}
	}
}

// TestRefusedStaysRefusedWhenRepeated repeats a refused segment as kernels do, with growing
// pauses of up to two minutes, and once with no end that was reset.
func TestRefusedStaysRefusedWhenRepeated(t *testing.T) {
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	every(time.Second, 6, []app.ID{app.HTTP}, func(pl *plan) {
		w, c := run(t, reg, pl, cuts(forbidden, 4, 100), 300*time.Millisecond)
		at := c.seq
		wait := 200 * time.Millisecond
		for sum := time.Duration(0); sum < 16*time.Minute; sum += wait {
			w.pass(wait)
			c.seq = at
			w.carry(0, 0, c.seg(t, 0, "A", forbidden))
			wait = min(2*wait, 2*time.Minute)
		}
		if w.end[0].bytes != 0 {
			t.Fatalf("%+v: %d bytes of a refused connection arrived", *pl, w.end[0].bytes)
		}
	})
}

// TestRefusedByTheOtherEnd lets the server's end refuse, and the client's end pass all: the
// server's reset reaches the client.
func TestRefusedByTheOtherEnd(t *testing.T) {
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	for _, passes := range []int{0, 1} {
		every(time.Second, 6, []app.ID{app.HTTP}, func(pl *plan) {
			if pl.ends != "both" {
				return
			}
			w := pl.lab(t, reg)
			open := *pl
			open.apps = nil // any
			w.hops[passes].shared.Policy.Store(&path.Policy{Generation: 2, Table: open.table(t, uint32(passes+1))})
			c := newConn(pl.v6, 40000, 8080)
			w.open(c)
			for _, x := range []string{forbidden[:4], forbidden[4:]} {
				w.carry(0, 0, c.seg(t, 0, "A", x))
				w.pass(400 * time.Millisecond)
			}
			w.pass(2 * time.Second)
			if w.end[0].bytes != 0 || !w.end[0].reset || !w.end[1].reset {
				t.Errorf("end %d passes, %+v: %d bytes arrived; reset: the server %v, the client %v", passes, *pl, w.end[0].bytes, w.end[0].reset, w.end[1].reset)
			}
		})
	}
}

// TestExpiredIsReported: a row with the reason, whatever follows.
func TestExpiredIsReported(t *testing.T) {
	for _, pass := range []bool{false, true} {
		both(t, func(t *testing.T, v6 bool) {
			s := newStage(t, policy.Protect)
			w := protect()
			w.Hold, w.HoldPass = time.Second, pass
			s.policy(1, w, allow(7, 6, 8080, app.HTTP))
			c := newConn(v6, 40000, 8080)
			s.give(open(t, c)...)
			s.give(c.seg(t, 0, "A", "GET "))
			s.pass(900*time.Millisecond, 20*time.Millisecond)
			if len(s.q.sent) != 0 {
				t.Errorf("%d frames were sent before the hold time ended", len(s.q.sent))
			}
			s.pass(3*time.Second, 20*time.Millisecond)
			want := flow.Deny
			if pass {
				want = flow.Violate
			}
			if last := s.all[len(s.all)-1]; last.Verdict != want || last.Reason != flow.ByHoldExpired || last.Rule != 7 {
				t.Errorf("reported %v, %v, rule %d; want %v, hold_expired, 7", last.Verdict, last.Reason, last.Rule, want)
			}
		})
	}
}
