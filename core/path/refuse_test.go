package path_test

import (
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// preface is how an HTTP/2 client begins, and waits for the server.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// TestPreambleReleasesWhatWasRead has bytes behind a gap when an answer wants the first ones
// delivered: they stay.
func TestPreambleReleasesWhatWasRead(t *testing.T) {
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	every(time.Second, 6, []app.ID{app.HTTP2, app.GRPC}, func(pl *plan) {
		if pl.place == "no answer" {
			return
		}
		w := pl.lab(t, reg)
		c := newConn(pl.v6, 40000, 8080)
		w.open(c)
		at := c.seq
		c.seq[0] = at[0] + uint32(len(preface)) + 7
		w.carry(0, 0, c.seg(t, 0, "A", "behind a gap"))
		c.seq = at
		w.carry(0, 0, c.seg(t, 0, "A", preface))
		w.pass(900 * time.Millisecond)
		if got := w.end[0].text(at[0]); got != preface || w.end[0].bytes != len(preface) {
			t.Fatalf("%+v: %q arrived, %d bytes in all, want the preface alone", *pl, got, w.end[0].bytes)
		}
	})
}

// TestRefusedWithoutAPacket refuses an open connection of which nothing is held: both ends are
// reset at once.
func TestRefusedWithoutAPacket(t *testing.T) {
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	every(time.Second, 6, []app.ID{app.HTTP, app.Unknown}, func(pl *plan) {
		if pl.ends == "both" || pl.place == "no answer" {
			return
		}
		w := pl.lab(t, reg)
		c := newConn(pl.v6, 40000, 8080)
		w.open(c)
		w.carry(0, 0, c.seg(t, 0, "A", "*1\r\n"))
		w.pass(900 * time.Millisecond)
		if w.end[0].bytes != 4 {
			t.Fatalf("%+v: %d bytes arrived of what policy allows without a name, want 4", *pl, w.end[0].bytes)
		}
		id := map[string]uint32{"client": 1, "server": 2}[pl.ends]
		none := *pl
		none.proto = 17
		w.hops[0].set(2, none.table(t, id))
		w.pass(time.Second)
		if !w.end[0].reset || !w.end[1].reset {
			t.Errorf("%+v: reset: the server %v, the client %v", *pl, w.end[0].reset, w.end[1].reset)
		}
	})
}

// TestResetOfTheOtherEndPasses has policy refuse an open connection, and the peer reset it before
// another packet comes: the reset reaches its receiver, and is not the packet that is refused.
func TestResetOfTheOtherEndPasses(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, 6, 8080))
		c := newConn(v6, 40000, 8080)
		s.give(open(t, c)...)
		s.policy(2, protect())
		forged := newConn(v6, 40000, 8080)
		forged.seq = [2]uint32{c.seq[0], c.seq[1] + 1_000_000_000}
		s.want("a reset outside of the window", s.give(forged.seg(t, 1, "R", "")), drop)
		s.want("the other end's reset", s.give(c.seg(t, 1, "RA", "")), pass)
		c.seq[1]-- // a reset has no length
		s.want("a segment after it", s.give(c.seg(t, 0, "A", "late")), drop)
	})
}

// TestSilentRefusalLasts refuses without an answer: the connection stays refused as long as the
// ends may keep it.
func TestSilentRefusalLasts(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		w := protect()
		w.OnDeny = policy.Silent
		s.policy(1, w, allow(7, 6, 8080, app.HTTP))
		c := newConn(v6, 40000, 8080)
		s.give(open(t, c)...)
		s.want("another application", s.give(c.seg(t, 0, "A", forbidden[4:])), drop)
		s.pass(2*time.Hour, 30*time.Second)
		s.want("two hours later", s.give(c.seg(t, 0, "A", forbidden)), drop)
		if len(s.q.sent) != 0 {
			t.Errorf("%d frames were sent, want no answer", len(s.q.sent))
		}
	})
}

// TestNamedByALimit ends identification by its limits of time and of bytes while an application
// that a rule denies is possible: policy has not decided on it.
func TestNamedByALimit(t *testing.T) {
	deny := allow(1, 6, 8080, app.Redis)
	deny.Deny = true
	for _, pass := range []bool{false, true} {
		both(t, func(t *testing.T, v6 bool) {
			s := newStage(t, policy.Protect)
			w := protect()
			w.HoldPass = pass
			s.policy(1, w, deny, allow(7, 6, 8080))
			c := newConn(v6, 40000, 8080)
			s.give(open(t, c)...)
			s.give(c.seg(t, 0, "A", "GET "))
			s.pass(11*time.Second, 20*time.Millisecond)
			got := s.give(c.seg(t, 0, "A", "k\r\nSET pwned 1\r\n"))
			if refused := got[0] == drop; refused == pass {
				t.Errorf("pass %v: %v after the limit", pass, got)
			}
			s.pass(3*time.Second, 100*time.Millisecond)
			if last := s.all[len(s.all)-1]; last.Reason.String() != "hold_expired" {
				t.Errorf("pass %v: reason %v, want hold_expired", pass, last.Reason)
			}
		})
	}
}

// TestAllowedSoFarContinues: a client whose first bytes show what policy allows, whatever rides on
// it, need not wait: its kernel would send nothing more after a time-out.
func TestAllowedSoFarContinues(t *testing.T) {
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	every(time.Second, 6, []app.ID{app.HTTP}, func(pl *plan) {
		if pl.place == "no answer" {
			return
		}
		w := pl.lab(t, reg)
		c := newConn(pl.v6, 40000, 8080)
		w.open(c)
		begun := request[:len("GET / HTTP/1.1\r\nHo")]
		w.carry(0, 0, c.seg(t, 0, "A", begun))
		w.pass(900 * time.Millisecond)
		if w.end[0].bytes != len(begun) {
			t.Errorf("%+v: %d bytes arrived within the hold time, want %d", *pl, w.end[0].bytes, len(begun))
		}
	})
}

// TestSilenceBeforeTheFirstRequest opens a connection and is silent for longer than any limit of
// identification: then a request in two pieces is judged like any other.
func TestSilenceBeforeTheFirstRequest(t *testing.T) {
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	for _, silence := range []time.Duration{12 * time.Second, 20 * time.Minute} {
		every(time.Second, 6, []app.ID{app.HTTP}, func(pl *plan) {
			if pl.place == "no answer" {
				return
			}
			for _, text := range []string{request, forbidden} {
				w := pl.lab(t, reg)
				c := newConn(pl.v6, 40000, 8080)
				w.open(c)
				w.pass(silence)
				first := c.seq[0]
				w.carry(0, 0, c.seg(t, 0, "A", text[:2]))
				w.pass(100 * time.Millisecond)
				w.carry(0, 0, c.seg(t, 0, "A", text[2:]))
				w.pass(3 * time.Second)
				if got := w.end[0].text(first); text == request && got != request || text == forbidden && w.end[0].bytes != 0 {
					t.Errorf("silent for %v, %+v: %q arrived of %q", silence, *pl, got, text)
				}
			}
		})
	}
}
