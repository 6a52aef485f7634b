package host

import (
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/plugins/wire"
)

// asker passes the sessions of one worker to all plugins; it is the worker's detect.Remote.
type asker struct {
	h        *Host
	wake     func()
	news     chan struct{} // holds one after an event; for Wait
	set      *[]*process   // the set of links
	links    links         // to the plugins of the set in order, then to leaving ones
	sessions sessions
	scratch  []byte
}

var (
	_ detect.Remote = (*asker)(nil)
	_ detect.Prompt = (*asker)(nil)
	_ detect.Shower = (*asker)(nil)
)

func newAsker(h *Host, wake func()) *asker {
	a := &asker{h: h, wake: wake, news: make(chan struct{}, 1), sessions: newSessions()}
	a.refit()
	a.connect()
	return a
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
	e := a.sessions.fresh(owner, len(a.links))
	for _, k := range a.links {
		s := asking
		switch {
		case k.leaving || !k.p.speaks(m.Proto):
			continue
		case k.up() && !k.behind():
		case k.up():
			s = parked // it is overloaded: its answer comes late, not never
			a.sessions.parked++
		case k.p.live.Load() == nil && !k.p.soon.Load():
			lost = true // it does not run
			continue
		default:
			s = parked
			a.sessions.parked++
		}
		k.p.busy.Add(1)
		e.parts = append(e.parts, part{link: k, state: s})
	}
	if lost {
		a.h.count.refused.Add(1)
	}
	if len(e.parts) == 0 {
		a.sessions.recycle(e)
		return 0, lost
	}
	a.sessions.add(e)
	a.h.count.sessions.Add(1)
	// It is sent with the first bytes: sessions that the engine's own parsers recognise are never sent.
	e.log = wire.AppendOpen(e.log, e.number, m)
	a.sessions.logs += len(e.log)
	return e.number, lost
}

// record sends a record to the session's plugins, and logs it.
func (a *asker) record(e *entry, rec []byte) {
	a.scratch = rec[:0]
	if !e.begun {
		e.begun = true
		e.write(e.log)
	}
	a.sessions.log(e, rec)
	e.write(rec)
}

// Data implements detect.Remote.
func (a *asker) Data(session uint64, dir parsers.Dir, data []byte) {
	e := a.sessions.by[session]
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
	e := a.sessions.by[session]
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
	if e := a.sessions.by[session]; e != nil {
		a.record(e, wire.AppendGap(a.scratch[:0], session, dir, n))
	}
}

// End implements detect.Remote.
func (a *asker) End(session uint64) {
	if e := a.sessions.by[session]; e != nil && !e.ending {
		e.ending = true
		a.record(e, wire.Append(a.scratch[:0], wire.End, 0, session, nil))
	}
}

// Close implements detect.Remote.
func (a *asker) Close(session uint64) {
	if e := a.sessions.by[session]; e != nil {
		if e.begun {
			a.record(e, wire.Append(a.scratch[:0], wire.Close, 0, session, nil))
		}
		a.sessions.drop(e)
	}
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

// Wait implements detect.Remote.
func (a *asker) Wait(d time.Duration) {
	if a.links.idle(a.sessions.parked > 0) {
		return
	}
	a.links.flushAll(&a.h.count)
	t := time.NewTimer(d)
	defer t.Stop()
	for !a.links.idle(a.sessions.parked > 0) {
		select {
		case <-t.C:
			return
		case <-a.news:
		}
		a.connect()
		a.links.flushAll(&a.h.count)
	}
}

// Export implements detect.Remote.
func (a *asker) Export(session uint64) any {
	e := a.sessions.by[session]
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
	e := a.sessions.by[n]
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
	a.sessions.clear()
}

// unknown is the answer of plugins that do not run.
func unknown() detect.News {
	return detect.News{Outcome: detect.Decided, Ended: true, Lost: true, App: app.Unknown, Base: app.Unknown}
}
