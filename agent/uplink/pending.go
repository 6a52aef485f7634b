package uplink

import (
	"maps"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// absorb moves the sums by kind of another aggregate into this one; sessions that are not summed up yet stay there.
func (a *aggregate) absorb(o *aggregate) {
	for k, c := range o.kinds {
		if !a.putKind(k, &c) {
			a.drop("uplink_full", k.workload, max(1, c.began))
		}
	}
	for k, t := range o.threats {
		a.putThreat(k, t)
	}
	for _, u := range o.unjudged {
		a.putUnjudged(&u)
	}
	for cause, n := range o.dropped {
		a.dropped[cause] += n // counted as lost there
	}
	maps.Copy(a.short, o.short)
	o.reset()
}

// reset deletes the packed kinds.
func (a *aggregate) reset() {
	clear(a.kinds)
	clear(a.shares)
	clear(a.waiting)
	clear(a.threats)
	clear(a.threatsOf)
	clear(a.unjudged)
	a.dropped = map[string]uint64{}
	clear(a.short)
}

// with returns the sum of two kinds, of which o is the newer one.
func (c kind) with(o *kind) kind {
	sum := *o
	sum.Counters.Add(&c.Counters)
	sum.began += c.began
	sum.ended += c.ended
	sum.continued += c.continued
	sum.First = min(c.First, o.First)
	if c.Session != o.Session {
		sum.Session = 0
	}
	if c.Last > o.Last {
		sum.Last, sum.ClientPort = c.Last, c.ClientPort
	}
	sum.Strength = max(c.Strength, o.Strength)
	sum.Evidence = max(c.Evidence, o.Evidence)
	sum.Lossy = c.Lossy || o.Lossy
	if sum.Detail == nil {
		sum.Detail = c.Detail
	}
	if sum.peer == nil {
		sum.peer = c.peer
	}
	if sum.service == nil {
		sum.service = c.service
	}
	return sum
}

// parts describes the files of pending in the spool, which are consecutive.
type parts struct {
	files []*segment
	first uint64 // their first number; 0 for none
	whole int64  // size of the first file, which held all of pending
	size  int64  // of the others
}

// Bounds after which pending is rewritten as one file of merged kinds.
const (
	mostParts = 100
	leastSize = 1 << 20
)

// keepNew moves new kinds to pending, on disk too.
func (u *Uplink) keepNew() {
	if u.agg.empty() {
		return
	}
	if u.spool == nil {
		u.pending.absorb(u.agg)
		return
	}
	p := &u.parts
	rs := u.agg.pack()
	first := u.seq + 1
	for i, r := range rs {
		r.Node, r.Run, r.Sequence = u.cfg.Node, u.cfg.Run, first+uint64(i)
	}
	u.seq += uint64(len(rs))
	if p.first == 0 {
		p.first = first
	}
	if g, err := u.spool.putRequests(first, u.seq, rs); err == nil {
		p.files = append(p.files, g)
		p.size += g.size
	}
	u.pending.absorb(u.agg)
	if len(p.files) > mostParts || p.size > max(leastSize, p.whole) {
		rs := u.pending.pack()
		first, last := u.number(rs)
		g := u.replace(first, last, rs)
		u.parts = parts{first: first}
		if g != nil {
			u.parts.files, u.parts.whole = []*segment{g}, g.size
		}
	}
}

// replace writes requests as one file in place of those with parts of them. After an error no file is
// left: numbers must not be reused for other contents.
func (u *Uplink) replace(first, last uint64, rs []*controlv1.ReportConnectionsRequest) *segment {
	if u.spool == nil {
		return nil
	}
	g, err := u.spool.putRequests(first, last, rs)
	for _, old := range u.parts.files {
		if err != nil || old.path != g.path {
			u.spool.remove(old)
		}
	}
	if err != nil {
		return nil
	}
	return g
}
