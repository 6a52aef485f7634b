package session_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/session"
)

// TestCrossed has both ends open a connection at once: it is one session of the end whose SYN came
// first. A SYN of the other end after a refused one is another attempt.
func TestCrossed(t *testing.T) {
	for _, denied := range []bool{false, true} {
		for first := range 2 {
			s := session.Session{Key: key(1), ClientIsA: true}
			s.Track(seg{dir: first, flags: syn}.packet(), first, start)
			if denied {
				s.Flags |= session.Denied
			}
			r := s.Track(seg{dir: 1 - first, flags: syn}.packet(), 1-first, start)
			want := session.Simultaneous
			if denied {
				want = session.Reopen
			}
			if r.Events != want || (s.Flags&session.Crossed != 0) == denied {
				t.Errorf("denied %v, first %d: events %b, want %b; flags %b", denied, first, r.Events, want, s.Flags)
			}
		}
	}
}
