package path

import (
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/packet"
)

// Begin starts a batch at a time, ns since the epoch, with the newest policy and endpoints.
func (p *Path) Begin(now int64) {
	p.away = p.away[:0]
	begin(p, p.Port(), now)
}

// begin begins a batch of frames of a port.
func begin(p *Path, x *Port, now int64) {
	if now-x.begun > unseenAfter {
		p.ses.awake = now
	}
	x.begun = now
	p.ses.act.enter(x)
	p.ses.out.count[counter.SendFailed] += uint64(x.Flush())
	p.ses.now, p.last = now, nil
	if p.ses.refresh() || now-p.link.sources.checked > sourcesFor {
		p.link.sources.reset(now)
	}
}

// Asked sends the requests for remote identification, before the batch is settled.
func (p *Path) Asked() { p.ses.ident.Flush() }

// Finish ends a batch after it was settled: answers, timeouts, part of a sweep, records. It
// reports whether another batch must follow at once.
func (p *Path) Finish() (again bool) {
	ses := &p.ses
	ses.ident.Poll()
	ses.answers()
	ses.kernel.BeginBatch()
	p.Expire()
	again = ses.sweepSome()
	ses.out.box.Flush()
	return again
}

// Expire processes due timers.
func (p *Path) Expire() {
	p.ses.table.Expire(p.ses.now, expireBatch, p.ses.expire)
	p.frags.r.Expire(p.ses.now)
	p.ses.expected.Expire(expireExpected, p.ses.now)
	p.ses.sweepForged()
}

// Now returns the time of the batch, ns since the epoch.
func (ss *Sessions) Now() int64 { return ss.now }

// Len returns the number of sessions.
func (ss *Sessions) Len() int { return ss.table.Len() }

// Advance advances the time without a batch, for captures.
func (ss *Sessions) Advance(now int64) { ss.now = now }

// Alarm returns when held packets are due, ns since the epoch; 0 while none are held.
func (p *Path) Alarm() int64 { return p.ses.act.held.Alarm(p.ses.now) }

// Adopt takes over the sessions of an endpoint, whose frames are judged here from now on, and
// returns the copies of those that passed before.
func (p *Path) Adopt(endpoint uint32, sessions []Moved) (kept []packet.Frame) {
	p.last = nil
	p.ses.refresh()
	p.link.sources.reset(p.ses.now)
	kept = p.gate.Begin(endpoint)
	p.ses.Adopt(sessions)
	return kept
}

// Export detaches the sessions of an endpoint, whose frames are judged elsewhere from now on.
func (p *Path) Export(endpoint uint32) []Moved {
	out := p.ses.Export(endpoint)
	p.gate.Move(endpoint)
	return out
}

// Holding reports whether packets of an endpoint are held, complete or as fragments.
func (p *Path) Holding(endpoint uint32) bool {
	workload := endpoint
	if v := p.ses.views.view(endpoint); v != nil {
		workload = v.workload
	}
	return p.frags.r.Waiting(workload) || p.ses.Holding(endpoint)
}
