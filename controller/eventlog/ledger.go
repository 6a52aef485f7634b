package eventlog

import (
	"net/netip"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/filter"
)

// kindKey is what connections of one kind have in common that agents report together.
type kindKey struct {
	client, server netip.Addr
	port           uint16
	proto          uint8
}

// account balances what both ends reported of connections of one kind that ended, where they are
// reported together and cannot be distinguished.
type account struct {
	led      uint64  // by the leading end, and not by the other yet
	followed uint64  // released as the other end's own, and not reported by the leading one yet
	waiting  []*held // of the other end
	begun    begun
	open     [2]uint64 // violating sessions that have begun and not ended, by end
	violated [2]uint64 // by one end and not by the other yet
	last     time.Time
}

// ledger has the accounts.
type ledger struct{ accounts map[kindKey]*account }

const maxAccounts = 10_000

func newLedger() ledger { return ledger{make(map[kindKey]*account)} }

func (r *Report) kind() kindKey { return kindKey{r.Client, r.Server, r.ServerPort, r.Proto} }

// account returns the account of a report's kind.
func (l *ledger) account(r *Report, now time.Time) *account {
	k := r.kind()
	a := l.accounts[k]
	if a == nil {
		if len(l.accounts) >= maxAccounts {
			clear(l.accounts) // ends that report together are joined less well for a moment
		}
		a = new(account)
		l.accounts[k] = a
	}
	if now.Sub(a.last) > linger {
		*a = account{open: a.open} // refused sessions are kept for minutes
	}
	a.last = now
	return a
}

// led takes n connections that the leading end reports as ended, and returns how many of them no
// event was released for.
func (l *ledger) led(r *Report, n uint64, now time.Time) uint64 {
	a := l.account(r, now)
	done := min(n, a.followed)
	a.followed -= done
	rest := n - done
	absorbed := uint64(0)
	for len(a.waiting) > 0 && absorbed < rest {
		h := a.waiting[0]
		take := min(rest-absorbed, h.sessions())
		absorbed += take
		if !h.reduce(take) {
			break
		}
		a.waiting = a.waiting[1:]
	}
	a.led += rest - absorbed
	return rest
}

// followed takes n connections that the other end reports as ended, and returns how many of them
// the leading end has not reported.
func (l *ledger) followed(r *Report, n uint64, now time.Time) uint64 {
	a := l.account(r, now)
	done := min(n, a.led)
	a.led -= done
	return n - done
}

// waits notes an event of the end that does not lead.
func (l *ledger) waits(r *Report, h *held) {
	if a := l.accounts[r.kind()]; a != nil && !r.Leads && h != nil {
		h.account = a
		a.waiting = append(a.waiting, h)
	}
}

// released notes that an event was released that the leading end has not reported.
func (l *ledger) released(h *held) {
	if h.account != nil {
		h.account.followed += h.sessions()
		h.unlink()
	}
}

// balanced notes that the second end has reported the same connection as the first, by its ports.
func (l *ledger) balanced(r *Report, now time.Time) {
	a := l.account(r, now)
	if r.Leads {
		a.followed -= min(a.followed, 1)
	} else {
		a.led -= min(a.led, 1)
	}
}

// unlink removes an event from those that wait for the leading end.
func (h *held) unlink() {
	if a := h.account; a != nil {
		a.waiting = slices.DeleteFunc(a.waiting, func(x *held) bool { return x == h })
		h.account = nil
	}
}

// violated returns how many connections of a report violate that neither end has reported so.
func (l *ledger) violated(r *Report, now time.Time) uint64 {
	a, e := l.account(r, now), r.side()
	n := r.Sessions
	if open := a.open[e] + r.Sessions; r.Ended > open {
		n += r.Ended - open // they began with another verdict
	}
	a.open[e] = a.open[e] + n - min(a.open[e]+n, r.Ended)
	matched := min(n, a.violated[1-e])
	a.violated[1-e] -= matched
	a.violated[e] += n - matched
	return n - matched
}

// forget drops accounts that are not used any more, now and then.
func (l *ledger) forget(now time.Time) {
	if len(l.accounts) < maxAccounts/2 {
		return
	}
	for k, a := range l.accounts {
		if now.Sub(a.last) > linger {
			delete(l.accounts, k)
		}
	}
}

// sessions is how many connections a held event represents.
func (h *held) sessions() uint64 {
	if h.conn != nil {
		return 1
	}
	return h.entries[0].Event.Sessions
}

// reduce takes connections out of a held event, which is dropped when none are left.
func (h *held) reduce(n uint64) (gone bool) {
	if left := h.sessions() - n; left > 0 {
		h.entries[0].Event.Sessions = left
		return false
	}
	h.drop = true
	return true
}

func cloneEvent(e *controlv1.Event) *controlv1.Event { return proto.CloneOf(e) }

// setEnd notes what one end decided.
func setEnd(e *controlv1.Event, end int, v *controlv1.EndVerdict) {
	if end == 0 {
		e.ClientEnd = v
	} else {
		e.ServerEnd = v
	}
}

// describe brings what filters see in line with the event.
func (e *Entry) describe() {
	s, m := &e.Subject, e.Event
	s.Kind, s.First, s.Last = m.Kind, m.Stamp, m.Stamp
	if m.Verdict != 0 {
		s.Verdicts, s.Reasons = filter.Bit(m.Verdict), filter.Bit(m.Reason)
	}
	for _, v := range []*controlv1.EndVerdict{m.ClientEnd, m.ServerEnd} {
		if v.GetVerdict() != 0 {
			s.Verdicts |= filter.Bit(v.Verdict)
		}
	}
	s.Outcomes = 0
	switch m.Kind {
	case controlv1.EventKind_EVENT_KIND_OPENED, controlv1.EventKind_EVENT_KIND_ENDED, controlv1.EventKind_EVENT_KIND_VIOLATION:
		s.Outcomes = filter.Bit(m.Outcome)
	}
}
