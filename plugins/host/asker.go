package host

import (
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/plugins/wire"
)

// maxLogs bounds the bytes of sessions that a worker keeps, for plugins that are starting and for sessions
// that move to another worker.
const maxLogs = 64 << 20

// asker passes the sessions of one worker to all plugins; it is the worker's detect.Remote.
type asker struct {
	h        *Host
	wake     func()
	news     chan struct{} // holds one after an event; for Wait
	set      *[]*process   // the set of links
	links    []*link       // to the plugins of the set in order, then to leaving ones
	sessions map[uint64]*entry
	free     []*entry
	last     uint64
	logs     int             // bytes of all entries' logs
	parked   int             // parts that wait for a plugin to start
	open     map[*entry]bool // with a claim that waits for other plugins
	scratch  []byte
}

var (
	_ detect.Remote = (*asker)(nil)
	_ detect.Prompt = (*asker)(nil)
	_ detect.Shower = (*asker)(nil)
)

// entry is one session.
type entry struct {
	number    uint64
	owner     uint32
	seen      uint32 // calls of Data
	spoke     [2]bool
	gone      bool // the log is incomplete
	ending    bool
	begun     bool        // its beginning was sent to the plugins
	parts     []part      // of its plugins, in order
	forwarded detect.News // what was forwarded last while undecided
	winner    int         // index of the part whose claim is the session's; -1 before
	log       []byte      // every record so far
}

// part is the answer of one plugin about a session.
type part struct {
	link  *link
	state partState
	news  detect.News
	at    uint64    // the link's position after the session's last record
	kept  []finding // findings before it was chosen
}

type partState uint8

const (
	settled partState = iota // no more answers follow
	parked                   // waits for the plugin to start
	asking                   // the plugin identifies it
)

// finding is an attribute or a threat.
type finding struct {
	kind wire.Kind
	arg  uint8
	body []byte
}

func newAsker(h *Host, wake func()) *asker {
	a := &asker{h: h, wake: wake, news: make(chan struct{}, 1), sessions: map[uint64]*entry{}, open: map[*entry]bool{}}
	a.refit()
	a.connect()
	return a
}

// of returns the session's part for a link; nil if there is none.
func (e *entry) of(k *link) *part {
	for i := range e.parts {
		if e.parts[i].link == k {
			return &e.parts[i]
		}
	}
	return nil
}

// nudge wakes the worker for Poll.
func (a *asker) nudge() {
	select {
	case a.news <- struct{}{}:
	default:
	}
	a.wake()
}

// Open implements detect.Remote.
func (a *asker) Open(m *parsers.Meta, owner uint32) (session uint64, lost bool) {
	a.refit()
	e := a.entry(owner)
	for _, k := range a.links {
		s := asking
		switch {
		case k.leaving || !k.p.speaks(m.Proto):
			continue
		case k.up() && !k.behind():
		case k.up():
			s = parked // it is overloaded: its answer comes late, not never
			a.parked++
		case k.p.live.Load() == nil && !k.p.soon.Load():
			lost = true // it does not run
			continue
		default:
			s = parked
			a.parked++
		}
		k.p.busy.Add(1)
		e.parts = append(e.parts, part{link: k, state: s})
	}
	if lost {
		a.h.count.refused.Add(1)
	}
	if len(e.parts) == 0 {
		a.free = append(a.free, e)
		return 0, lost
	}
	a.last++
	e.number = a.last
	a.sessions[e.number] = e
	a.h.count.sessions.Add(1)
	// It is sent with the first bytes: sessions that the engine's own parsers recognise are never sent.
	e.log = wire.AppendOpen(e.log, e.number, m)
	a.logs += len(e.log)
	return e.number, lost
}

// entry returns an empty one.
func (a *asker) entry(owner uint32) *entry {
	var e *entry
	if n := len(a.free); n > 0 {
		e, a.free = a.free[n-1], a.free[:n-1]
	} else {
		e = &entry{parts: make([]part, 0, len(a.links))}
	}
	*e = entry{owner: owner, parts: e.parts[:0], winner: -1, log: e.log[:0]}
	return e
}

// record sends a record to the session's plugins, and logs it.
func (a *asker) record(e *entry, rec []byte) {
	a.scratch = rec[:0]
	if !e.begun {
		e.begun = true
		a.write(e, e.log)
	}
	if a.logs+len(rec) <= maxLogs {
		e.log = append(e.log, rec...)
		a.logs += len(rec)
	} else {
		e.gone = true
	}
	a.write(e, rec)
}

// write sends a record to the session's plugins. It is urgent while the session is unidentified.
func (a *asker) write(e *entry, rec []byte) {
	named := e.winner >= 0 && e.parts[e.winner].news.Outcome == detect.Decided
	urgent := !named && wire.Kind(rec[0]) != wire.Close
	for i := range e.parts {
		if pt := &e.parts[i]; pt.state == asking {
			k := pt.link
			k.write(rec)
			k.urgent = k.urgent || urgent
			pt.at = k.pos
		}
	}
}

// Data implements detect.Remote.
func (a *asker) Data(session uint64, dir parsers.Dir, data []byte) {
	e := a.sessions[session]
	if e == nil {
		return
	}
	e.seen++
	e.spoke[dir&1] = true
	for len(data) > wire.MaxBody {
		a.record(e, wire.Append(a.scratch[:0], wire.Part, uint8(dir), session, data[:wire.MaxBody]))
		data = data[wire.MaxBody:]
	}
	a.record(e, wire.Append(a.scratch[:0], wire.Data, uint8(dir), session, data))
}

// Answered implements detect.Prompt.
func (a *asker) Answered(session uint64) bool {
	e := a.sessions[session]
	if e == nil {
		return true
	}
	for i := range e.parts {
		if pt := &e.parts[i]; pt.state == parked || pt.state == asking && !pt.link.answered(pt.at) {
			return false
		}
	}
	return true
}

// Shows implements detect.Shower. What a plugin recognises that does not run is not known.
func (a *asker) Shows(id app.ID) bool {
	for _, k := range a.links {
		if k.leaving || !k.p.speaks(17) {
			continue
		}
		if l := k.p.live.Load(); l == nil || !l.shows(id) {
			return false
		}
	}
	return true
}

// Gap implements detect.Remote.
func (a *asker) Gap(session uint64, dir parsers.Dir, n int) {
	if e := a.sessions[session]; e != nil {
		a.record(e, wire.AppendGap(a.scratch[:0], session, dir, n))
	}
}

// End implements detect.Remote.
func (a *asker) End(session uint64) {
	if e := a.sessions[session]; e != nil && !e.ending {
		e.ending = true
		a.record(e, wire.Append(a.scratch[:0], wire.End, 0, session, nil))
	}
}

// Close implements detect.Remote.
func (a *asker) Close(session uint64) {
	if e := a.sessions[session]; e != nil {
		if e.begun {
			a.record(e, wire.Append(a.scratch[:0], wire.Close, 0, session, nil))
		}
		a.drop(e)
	}
}

// drop deletes a session from the worker.
func (a *asker) drop(e *entry) {
	for i := range e.parts {
		a.settlePart(&e.parts[i])
	}
	delete(a.sessions, e.number)
	delete(a.open, e)
	a.logs -= len(e.log)
	if cap(e.log) > 4096 {
		e.log = nil
	}
	e.log = e.log[:0]
	if len(a.free) < 1024 {
		a.free = append(a.free, e)
	}
}

// settle ends a part.
func (a *asker) settlePart(pt *part) {
	if pt.state == settled {
		return
	}
	if pt.state == parked {
		a.parked--
	}
	pt.state = settled
	pt.link.p.busy.Add(-1)
}

// Flush implements detect.Remote.
func (a *asker) Flush() {
	for _, k := range a.links {
		if k.due() {
			k.seal()
		}
		k.push(&a.h.count)
	}
}

// flushAll sends delayed messages, too.
func (a *asker) flushAll() {
	for _, k := range a.links {
		k.seal()
		k.push(&a.h.count)
	}
}

// Wait implements detect.Remote.
func (a *asker) Wait(d time.Duration) {
	if a.idle() {
		return
	}
	a.flushAll()
	t := time.NewTimer(d)
	defer t.Stop()
	for !a.idle() {
		select {
		case <-t.C:
			return
		case <-a.news:
		}
		a.connect()
		a.flushAll()
	}
}

// idle reports whether there is nothing to wait for.
func (a *asker) idle() bool {
	for _, k := range a.links {
		if k.up() && !k.answered(k.pos) || a.parked > 0 && !k.up() && k.p.soon.Load() {
			return false
		}
	}
	return true
}

// Export implements detect.Remote.
func (a *asker) Export(session uint64) any {
	e := a.sessions[session]
	if e == nil || e.gone {
		return nil
	}
	c := &entry{seen: e.seen, spoke: e.spoke, ending: e.ending, log: append([]byte(nil), e.log...)}
	a.Close(session)
	return c
}

// Adopt implements detect.Remote: it sends the whole log again.
func (a *asker) Adopt(parcel any, owner uint32) uint64 {
	c, ok := parcel.(*entry)
	if !ok {
		return 0
	}
	r, rest, err := wire.Next(c.log)
	if err != nil || r.Kind != wire.Open {
		return 0
	}
	m := r.Meta()
	n, _ := a.Open(&m, owner)
	e := a.sessions[n]
	if e == nil {
		return 0
	}
	e.seen, e.spoke, e.ending = c.seen, c.spoke, c.ending
	for b := rest; len(b) > 0; {
		next := wire.SetSession(b, n)
		a.record(e, append(a.scratch[:0], b[:len(b)-len(next)]...))
		b = next
	}
	return n
}

// Stop implements detect.Remote.
func (a *asker) Stop() {
	a.h.mu.Lock()
	delete(a.h.askers, a)
	a.h.mu.Unlock()
	for _, k := range a.links {
		if st := k.stream.Load(); st != nil {
			st.close()
		}
	}
	for _, e := range a.sessions {
		for i := range e.parts {
			a.settlePart(&e.parts[i])
		}
	}
	clear(a.sessions)
	clear(a.open)
}

// unknown is the answer of plugins that do not run.
func unknown() detect.News {
	return detect.News{Outcome: detect.Decided, Ended: true, Lost: true, App: app.Unknown, Base: app.Unknown}
}
