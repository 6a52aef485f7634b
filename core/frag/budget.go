package frag

// Costs beside the bytes themselves; rounded up from the sizes of the structures.
const (
	datagramCost = 448
	pieceCost    = 64
	frameCost    = 128
)

// The orders that a datagram is in, by age: of its family, its endpoint and its source.
const (
	ofFamily = iota
	ofEndpoint
	ofSource
	orders
)

// link is a datagram's place in a list.
type link struct{ prev, next *datagram }

// list is datagrams by age, in one of the orders.
type list struct {
	front, back *datagram
	order       int
}

// push adds d at the young end.
func (l *list) push(d *datagram) {
	d.links[l.order] = link{prev: l.back}
	if l.back != nil {
		l.back.links[l.order].next = d
	} else {
		l.front = d
	}
	l.back = d
}

// remove unlinks d.
func (l *list) remove(d *datagram) {
	at := &d.links[l.order]
	if at.prev != nil {
		at.prev.links[l.order].next = at.next
	} else {
		l.front = at.next
	}
	if at.next != nil {
		at.next.links[l.order].prev = at.prev
	} else {
		l.back = at.prev
	}
	*at = link{}
}

// family returns the list that d belongs to.
func (d *datagram) family() int {
	if d.key.v6 {
		return 1
	}
	return 0
}

// charge adds bytes to d's cost.
func (r *Reassembler) charge(d *datagram, n int) {
	d.cost += n
	r.stats.Bytes += n
	r.shares.charge(d, n)
}

// discard drops d and its contents.
func (r *Reassembler) discard(d *datagram) {
	delete(r.table, d.key)
	r.ages[d.family()].remove(d)
	r.charge(d, -d.cost)
	r.shares.remove(d)
	if r.last == d {
		r.last = nil
	}
}

// evict drops the oldest datagram except keep. Legitimate datagrams are complete within
// milliseconds, so under a flood the oldest belong to the flood.
func (r *Reassembler) evict(keep *datagram) bool {
	var oldest *datagram
	for i := range r.ages {
		if d := r.ages[i].oldest(keep); d != nil && (oldest == nil || d.since < oldest.since) {
			oldest = d
		}
	}
	return r.drop(oldest)
}

// oldest returns the oldest datagram of a list except keep; nil for none.
func (l *list) oldest(keep *datagram) *datagram {
	if l.front != nil && l.front == keep {
		return l.front.links[l.order].next
	}
	return l.front
}

// drop discards a datagram to make room; false for nil.
func (r *Reassembler) drop(d *datagram) bool {
	if d == nil {
		return false
	}
	if !d.decided {
		r.stats.Evicted++
	}
	r.discard(d)
	return true
}

// markDecided turns d into the record of a decided datagram: its data is freed, the sums that
// identify its fragments stay, and its timeout starts again.
func (r *Reassembler) markDecided(d *datagram, now int64) {
	r.charge(d, -d.cost)
	for i := range d.pieces {
		d.pieces[i].data = nil
	}
	d.head, d.frames, d.decided = nil, nil, true
	r.charge(d, datagramCost+len(d.pieces)*pieceCost)
	l := &r.ages[d.family()]
	l.remove(d)
	d.since = now
	l.push(d)
	r.shares.renew(d)
	r.last = d
	for r.stats.Bytes > r.cfg.MaxBytes && r.evict(d) {
	}
}
