package eventlog

import (
	"container/heap"
	"container/list"
	"net/netip"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/vocab"
)

// Key is a connection as both ends see it.
type Key struct {
	Client, Server         netip.Addr
	ClientPort, ServerPort uint16 // ClientPort is 0 where several sessions came together
	Proto                  uint8
}

// Report is what one end reported of a connection, or of several of one kind.
type Report struct {
	Key
	// Entry is the event as this end sees it, without its kind.
	Entry *Entry
	// End is what this end decided; nil where it is not a managed workload.
	End *controlv1.EndVerdict
	// Egress: the client's end reports.
	Egress bool
	// Leads: this end's counts are those of the connection, and the other one's are not.
	Leads           bool
	Sessions, Ended uint64 // that began and ended
	Began           int64  // ns since the epoch
}

func (r *Report) side() int {
	if r.Egress {
		return 0
	}
	return 1
}

// Bounds of what is remembered.
const (
	maxHeld  = 20_000
	maxConns = 50_000
	// apart is how far the beginnings may be apart that two ends report of one connection, ns.
	apart = int64(2e9)
	// linger is how long a connection that ended is remembered for the other end's late report.
	linger = 10 * time.Second
)

// held is an event that waits for the other end's report.
type held struct {
	entries [2]*Entry // what the ends reported last; of an event without ends the first
	kind    controlv1.EventKind
	stamp   int64
	came    uint64 // counts up, for events of one time
	due     time.Time
	conn    *conn    // nil of events without one connection
	lead    int      // whose entry describes the event
	account *account // of one of the end that does not lead; nil of others
	done    bool     // it was released
	drop    bool     // it is not released: the other end's event replaces it
	index   int      // in the heap
}

// conn is one connection.
type conn struct {
	key     Key
	began   int64
	begun   [2]bool // ends that reported its beginning
	ends    [2]*controlv1.EndVerdict
	out     uint64 // bytes that the leading end, or the only one, reported
	in      uint64
	led     bool // the leading end has reported
	opened  bool // each: that event was made
	over    bool // it is in begun.over
	ended   bool
	denied  bool
	refused bool // it was refused after it had been open
	held    *held
	at      *list.Element
	done    time.Time // when it ended; zero before
	// reported is Report.Leads of the end that reported last that it ended.
	reported bool
}

// joiner makes one event of what both ends report. The Log's lock guards it.
type joiner struct {
	wait  time.Duration
	heap  heldHeap
	conns map[Key]*conn
	order *list.List // of *conn, touched last at the back
	kinds ledger
	came  uint64
}

func newJoiner(wait time.Duration) joiner {
	return joiner{wait: wait, conns: make(map[Key]*conn), order: list.New(), kinds: newLedger()}
}

// add takes a report.
func (j *joiner) add(r *Report, now time.Time, keep func(*Entry)) {
	j.forget(now)
	if r.ClientPort == 0 && policy.HasPorts(r.Proto) || r.Sessions > 1 || r.Ended > 1 {
		j.several(r, now, keep)
		return
	}
	c, e := j.conn(r), r.side()
	c.begun[e] = c.begun[e] || r.Sessions > 0
	open := r.refusesOpen(c.ends[e])
	c.ends[e] = decided(c.ends[e], r.End)
	c.count(r)
	if c.held != nil {
		c.held.add(r)
	}
	switch {
	case r.violates() && !c.denied, open && !c.refused:
		c.denied, c.refused = true, c.refused || open
		j.violation(c, r, now, keep)
	case r.Ended > 0 && !c.ended && !c.denied:
		j.endConn(c, r, now, keep)
	case r.Sessions > 0 && r.Ended == 0 && r.Leads && !vocab.FlowOutcome(r.Entry.Event.Outcome).Over() && !c.opened && !c.denied && !c.ended:
		c.opened = true
		j.holdFor(c, r, controlv1.EventKind_EVENT_KIND_OPENED, now, keep)
	}
	switch {
	case r.Ended > 0 && !c.ended:
		c.ended, c.done = true, now
	case r.Ended > 0 && c.reported != r.Leads && (!r.Leads || c.held == nil):
		j.kinds.balanced(r, now)
	}
	if r.Ended > 0 {
		c.reported = r.Leads
	}
	j.kinds.openedOne(c, r, now)
}

// violation makes the one event of a connection that policy refuses.
func (j *joiner) violation(c *conn, r *Report, now time.Time, keep func(*Entry)) {
	if c.held != nil {
		c.held.kind = controlv1.EventKind_EVENT_KIND_VIOLATION
		if c.refused { // then, and not when it was opened
			c.held.stamp = r.Entry.Event.Stamp
			heap.Fix(&j.heap, c.held.index)
		}
		return
	}
	j.holdFor(c, r, controlv1.EventKind_EVENT_KIND_VIOLATION, now, keep)
}

// endConn makes the event of a connection that ended. A server's end that reports alone is
// compared with what the client's reported of several at once.
func (j *joiner) endConn(c *conn, r *Report, now time.Time, keep func(*Entry)) {
	if c.held != nil {
		c.held.kind, c.held.stamp = controlv1.EventKind_EVENT_KIND_ENDED, r.Entry.Event.Stamp
		heap.Fix(&j.heap, c.held.index)
		if r.Leads {
			j.kinds.led(r, 1, now)
		}
		return
	}
	rest := uint64(1)
	if r.Leads {
		rest = j.kinds.led(r, 1, now)
	} else {
		rest = j.kinds.followed(r, 1, now)
	}
	if rest > 0 {
		j.holdFor(c, r, controlv1.EventKind_EVENT_KIND_ENDED, now, keep)
		j.kinds.waits(r, c.held)
	}
}

// several takes a report of several connections of one kind, which cannot be distinguished.
func (j *joiner) several(r *Report, now time.Time, keep func(*Entry)) {
	e := r.Entry.Event
	event := func(kind controlv1.EventKind, n uint64) *held {
		x := *r.Entry
		x.Event = cloneEvent(e)
		x.Event.Sessions, x.Event.ClientPort = n, 0
		setEnd(x.Event, r.side(), r.End)
		h := &held{entries: [2]*Entry{&x}}
		j.hold(h, kind, e.Stamp, now, keep)
		return h
	}
	if r.violates() {
		if n := j.kinds.violated(r, now); n > 0 {
			event(controlv1.EventKind_EVENT_KIND_VIOLATION, n)
		}
		return
	}
	switch {
	case !r.Leads:
	case r.Sessions > r.Ended && vocab.FlowOutcome(e.Outcome).Over():
		j.kinds.overMore(r, r.Sessions-r.Ended, now)
	case r.Sessions > r.Ended:
		n := r.Sessions - r.Ended
		j.kinds.openedMore(r, n, now, func() *held { return event(controlv1.EventKind_EVENT_KIND_OPENED, n) })
	case r.Ended > r.Sessions:
		j.kinds.openedLess(r, r.Ended-r.Sessions, now)
	}
	if r.Ended == 0 {
		return
	}
	rest := uint64(0)
	if r.Leads {
		rest = j.kinds.led(r, r.Ended, now)
	} else {
		rest = j.kinds.followed(r, r.Ended, now)
	}
	if rest > 0 {
		j.kinds.waits(r, event(controlv1.EventKind_EVENT_KIND_ENDED, rest))
	}
}

// conn returns the connection of a report, made where it is a new one.
func (j *joiner) conn(r *Report) *conn {
	c := j.conns[r.Key]
	if c != nil && r.Sessions > 0 && (c.begun[r.side()] || c.began-r.Began > apart || r.Began-c.began > apart) {
		j.remove(c) // its client used the port again
		c = nil
	}
	if c == nil {
		if len(j.conns) >= maxConns {
			j.remove(j.order.Front().Value.(*conn))
		}
		c = &conn{key: r.Key, began: r.Began}
		c.at = j.order.PushBack(c)
		j.conns[r.Key] = c
	}
	j.order.MoveToBack(c.at)
	return c
}

func (j *joiner) remove(c *conn) {
	j.order.Remove(c.at)
	delete(j.conns, c.key)
}

// forget drops connections that ended a while ago.
func (j *joiner) forget(now time.Time) {
	for x := j.order.Front(); x != nil; x = j.order.Front() {
		c := x.Value.(*conn)
		if c.done.IsZero() || now.Sub(c.done) < linger {
			return
		}
		j.remove(c)
	}
}

// count adds what the leading end counted; before that one has reported, the other end's.
func (c *conn) count(r *Report) {
	if r.Leads && !c.led {
		c.led, c.out, c.in = true, 0, 0
	}
	if r.Leads || !c.led {
		c.out += r.Entry.Event.BytesOut
		c.in += r.Entry.Event.BytesIn
	}
}

// decided returns the newer verdict of an end: one that is pending does not replace another.
func decided(old, now *controlv1.EndVerdict) *controlv1.EndVerdict {
	if now == nil || old != nil && (now.Verdict == controlv1.Verdict_VERDICT_UNSPECIFIED || now.Verdict == controlv1.Verdict_VERDICT_PENDING) {
		return old
	}
	if old != nil && violates(old.Verdict) && !violates(now.Verdict) {
		return old // what was refused stays refused
	}
	return now
}

// holdFor holds an event of a connection.
func (j *joiner) holdFor(c *conn, r *Report, kind controlv1.EventKind, now time.Time, keep func(*Entry)) {
	h := &held{conn: c, lead: r.side()}
	h.entries[r.side()] = r.Entry
	c.held = h
	j.hold(h, kind, r.Entry.Event.Stamp, now, keep)
}

// add merges what an end reported while the event is held.
func (h *held) add(r *Report) {
	e := r.side()
	if old := h.entries[e]; old != nil && len(r.Entry.Event.Attrs) == 0 {
		r.Entry.Event.Attrs = old.Event.Attrs
	}
	h.entries[e] = r.Entry
	if r.Leads {
		h.lead = e
		h.unlink()
	}
}

// hold keeps an event until it is due. When too many are held, the oldest is released.
func (j *joiner) hold(h *held, kind controlv1.EventKind, stamp int64, now time.Time, keep func(*Entry)) {
	j.came++
	h.kind, h.stamp, h.due, h.came = kind, stamp, now.Add(j.wait), j.came
	heap.Push(&j.heap, h)
	for len(j.heap) > maxHeld {
		j.finish(heap.Pop(&j.heap).(*held), keep)
	}
}

// release releases what is due, and what is older than that.
func (j *joiner) release(now time.Time, keep func(*Entry)) {
	last, any := int64(0), false
	for _, h := range j.heap {
		if !h.due.After(now) && (!any || h.stamp > last) {
			last, any = h.stamp, true
		}
	}
	for any && len(j.heap) > 0 && j.heap[0].stamp <= last {
		j.finish(heap.Pop(&j.heap).(*held), keep)
	}
	j.forget(now)
	j.kinds.forget(now)
}

// finish makes the event of what is held and lets it go.
func (j *joiner) finish(h *held, keep func(*Entry)) {
	if h.conn != nil && h.conn.held == h {
		h.conn.held = nil
	}
	if h.drop {
		return
	}
	h.done = true
	j.kinds.released(h)
	keep(h.event())
}

// event is what is held as one event: described by the leading end, decided by the stricter one.
func (h *held) event() *Entry {
	e := h.entries[h.lead]
	e.Event.Kind = h.kind
	if c := h.conn; c != nil {
		if h.kind == controlv1.EventKind_EVENT_KIND_VIOLATION {
			e = h.deciding()
			e.Event.Kind = h.kind
		}
		e.Event.ClientEnd, e.Event.ServerEnd = c.ends[0], c.ends[1]
		e.Event.BytesOut, e.Event.BytesIn, e.Event.Began, e.Event.Sessions = c.out, c.in, c.began, 1
	}
	e.Event.Stamp = h.stamp
	if v := stricter(e.Event.ClientEnd, e.Event.ServerEnd); v != nil {
		e.Event.Verdict, e.Event.Reason, e.Event.Rule = v.Verdict, v.Reason, v.Rule
	}
	e.describe()
	return e
}

// deciding returns the entry of the end whose verdict prevails.
func (h *held) deciding() *Entry {
	e := 0
	if v := stricter(h.conn.ends[0], h.conn.ends[1]); v == nil || v != h.conn.ends[0] {
		e = 1
	}
	if h.entries[e] == nil {
		e = 1 - e
	}
	lead, by := h.entries[h.lead], h.entries[e]
	if by.Event.App == "" || by.Event.App == "undecided" {
		by.Event.App, by.Subject.App, by.Subject.Base = lead.Event.App, lead.Subject.App, lead.Subject.Base
	}
	return by
}

// stricter returns the verdict that prevails; of two alike the client's.
func stricter(client, server *controlv1.EndVerdict) *controlv1.EndVerdict {
	if client == nil || server != nil && graph.Stricter(vocab.FlowVerdict(server.Verdict), vocab.FlowVerdict(client.Verdict)) {
		return server
	}
	return client
}

// heldHeap has the oldest first.
type heldHeap []*held

func (h heldHeap) Len() int { return len(h) }
func (h heldHeap) Less(a, b int) bool {
	return h[a].stamp < h[b].stamp || h[a].stamp == h[b].stamp && h[a].came < h[b].came
}
func (h heldHeap) Swap(a, b int) {
	h[a], h[b] = h[b], h[a]
	h[a].index, h[b].index = a, b
}
func (h *heldHeap) Push(x any) {
	x.(*held).index = len(*h)
	*h = append(*h, x.(*held))
}
func (h *heldHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return x
}
