package eventlog

import (
	"slices"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/vocab"
)

// begun is what the leading end reported of connections of one kind that have not ended yet, and what
// of it is not in a released event.
type begun struct {
	several *held   // event of several that were reported as open together; nil when it is released
	single  []*held // events of one connection each that was reported as open, oldest first
	// over counts connections that were reported with the outcome they ended with, but not as ended.
	over uint64
}

// openedMore notes that the leading end reported n more connections as open. h makes the event that
// is held for them, where none is held yet.
func (l *ledger) openedMore(r *Report, n uint64, now time.Time, h func() *held) {
	b := &l.account(r, now).begun
	if b.several != nil && !b.several.done {
		b.several.entries[b.several.lead].Event.Sessions += n
		return
	}
	b.several = h()
}

// overMore notes that the leading end reported n connections with the outcome they ended with, but not as
// ended.
func (l *ledger) overMore(r *Report, n uint64, now time.Time) { l.account(r, now).begun.over += n }

// openedOne notes what an end reported of a connection by its port, if it is the leading one.
func (l *ledger) openedOne(c *conn, r *Report, now time.Time) {
	switch over := vocab.FlowOutcome(r.Entry.Event.Outcome).Over(); {
	case !r.Leads:
	case c.over && r.Ended > 0:
		b := &l.account(r, now).begun
		b.over -= min(b.over, 1)
		c.over = false
	case !c.over && over && r.Ended == 0 && !c.ended && !c.denied:
		l.overMore(r, 1, now)
		c.over = true
	case r.Sessions > 0 && c.held != nil && c.held.kind == controlv1.EventKind_EVENT_KIND_OPENED:
		b := &l.account(r, now).begun
		b.single = append(b.single, c.held)
	}
}

// openedLess notes that n connections ended that were reported before: those of which the event
// is still held have not lasted, and are in the event of their end only.
func (l *ledger) openedLess(r *Report, n uint64, now time.Time) {
	b := &l.account(r, now).begun
	known := min(n, b.over)
	b.over -= known
	n -= known
	if b.several != nil && !b.several.done {
		e := b.several.entries[b.several.lead].Event
		less := min(e.Sessions, n)
		n -= less
		if e.Sessions -= less; e.Sessions == 0 {
			b.several.drop, b.several = true, nil
		}
	}
	b.single = slices.DeleteFunc(b.single, func(h *held) bool {
		if h.done || h.kind != controlv1.EventKind_EVENT_KIND_OPENED {
			return true
		}
		if n == 0 {
			return false
		}
		n--
		h.drop, h.conn.held = true, nil
		return true
	})
}
