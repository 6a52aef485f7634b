package uplink

import (
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// absorb moves what another aggregate has by kind into this one; sessions under way stay there.
func (a *aggregate) absorb(o *aggregate) {
	for k, c := range o.kinds {
		old, ok := a.kinds[k]
		switch {
		case ok:
			c = old.with(&c)
		case len(a.kinds) >= a.max:
			a.drop("uplink_full", max(1, c.began))
			continue
		}
		a.kinds[k] = c
	}
	for k, t := range o.threats {
		old, ok := a.threats[k]
		if !ok && len(a.threats) >= maxThreats {
			a.drop("threats_full", t.count)
			continue
		}
		a.threats[k] = threat{old.count + t.count, max(old.stamp, t.stamp)}
	}
	for cause, n := range o.dropped {
		a.dropped[cause] += n // counted as lost there
	}
	o.reset()
}

// reset forgets what was packed.
func (a *aggregate) reset() {
	clear(a.kinds)
	clear(a.threats)
	a.dropped = map[string]uint64{}
}

// with is the sum of two, of which o is the newer one.
func (c kind) with(o *kind) kind {
	for i := range c.packets {
		c.packets[i] += o.packets[i]
		c.bytes[i] += o.bytes[i]
	}
	c.began += o.began
	c.ended += o.ended
	c.first = min(c.first, o.first)
	if c.session != o.session {
		c.session = 0
	}
	if o.last >= c.last {
		c.last, c.clientPort, c.state = o.last, o.clientPort, o.state
	}
	c.strength = max(c.strength, o.strength)
	c.evidence = max(c.evidence, o.evidence)
	if o.detail != nil {
		c.detail = o.detail
	}
	if o.peer != nil {
		c.peer = o.peer
	}
	return c
}

// parts is what the spool has of what waits: files that follow each other.
type parts struct {
	files []*segment
	first uint64 // the first number of theirs; 0 where there are none
	whole int64  // size of the first file, when it was written as all that waited
	size  int64  // of the others
}

// Bounds after which what waits is written as one file again, of kinds that are merged.
const (
	mostParts = 100
	leastSize = 1 << 20
)

// keep moves what is new to what waits, on disk too.
func (u *Uplink) keep() {
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
		r.Node, r.Boot, r.Sequence = u.cfg.Node, u.cfg.Boot, first+uint64(i)
	}
	u.seq += uint64(len(rs))
	if p.first == 0 {
		p.first = first
	}
	if g, err := u.spool.put(first, u.seq, rs); err == nil {
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

// replace writes requests as one file in the place of those that have parts of them. Where that does not
// work none is left: numbers must not stand for different things.
func (u *Uplink) replace(first, last uint64, rs []*controlv1.ReportConnectionsRequest) *segment {
	if u.spool == nil {
		return nil
	}
	g, err := u.spool.put(first, last, rs)
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
