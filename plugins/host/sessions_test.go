package host

import (
	"bytes"
	"testing"
)

// TestSessions: a dropped session leaves nothing behind: no part, no bytes of its log, no claim that waits; its entry
// serves the next one, empty.
func TestSessions(t *testing.T) {
	p := &process{}
	k := &link{p: p}
	s := newSessions()
	e := s.fresh(7, 2)
	e.parts = append(e.parts, part{link: &link{p: p}, state: asking}, part{link: k, state: parked}, part{link: &link{p: p}})
	p.busy.Store(2)
	s.parked = 1
	s.add(e)
	s.log(e, bytes.Repeat([]byte{1}, 100))
	s.open[e] = true
	if s.by[e.number] != e || s.logs != 100 || !s.any(k, parked) || s.any(&link{}, asking) {
		t.Fatalf("session %d: %d bytes", e.number, s.logs)
	}
	s.drop(e)
	if len(s.by) != 0 || len(s.open) != 0 || s.logs != 0 || s.parked != 0 || p.busy.Load() != 0 {
		t.Errorf("left: %d sessions, %d bytes, %d parked, %d busy", len(s.by), s.logs, s.parked, p.busy.Load())
	}
	next := s.fresh(8, 2)
	if next != e || next.owner != 8 || len(next.parts) != 0 || len(next.log) != 0 || next.winner != -1 {
		t.Errorf("the next one: %+v", next)
	}
	if s.add(next); next.number != 2 {
		t.Errorf("number %d, want another one", next.number)
	}
}

// TestSessionLogBounded: a record beyond the limit makes a log incomplete and takes no room.
func TestSessionLogBounded(t *testing.T) {
	s := newSessions()
	e := s.fresh(1, 1)
	s.logs = maxLogs - 3
	if s.log(e, []byte{1, 2, 3}); e.gone || s.logs != maxLogs {
		t.Fatalf("gone %v, %d bytes", e.gone, s.logs)
	}
	if s.log(e, []byte{4}); !e.gone || s.logs != maxLogs || len(e.log) != 3 {
		t.Errorf("gone %v, %d bytes, a log of %d", e.gone, s.logs, len(e.log))
	}
}

// TestLinksFollow: links are in the order of the plugins; one of a plugin that left stays behind them until its
// sessions ended, and is the same one when the plugin is back.
func TestLinksFollow(t *testing.T) {
	a, b, c := &process{}, &process{}, &process{}
	ks := links(nil).follow([]*process{a, b})
	first := ks[0]
	ks = ks.follow([]*process{b, c})
	if len(ks) != 3 || ks[0].p != b || ks[1].p != c || ks[2] != first || !first.leaving || ks[0].leaving {
		t.Fatalf("%d links, the last leaving %v", len(ks), first.leaving)
	}
	s := newSessions()
	e := s.fresh(1, 1)
	e.parts = append(e.parts, part{link: first, state: asking})
	s.add(e)
	if ks = ks.withoutLeft(&s); len(ks) != 3 {
		t.Fatalf("dropped with a session: %d links", len(ks))
	}
	if back := ks.follow([]*process{a, b, c}); len(back) != 3 || back[0] != first || first.leaving {
		t.Errorf("back: %d links, leaving %v", len(back), first.leaving)
	}
	first.leaving = true
	s.settlePart(&e.parts[0])
	if ks = ks.withoutLeft(&s); len(ks) != 2 || ks[0].p != b {
		t.Errorf("then %d links", len(ks))
	}
}
