package frag

// Costs beside the bytes themselves; rounded up from the sizes of the structures.
const (
	datagramCost = 320
	pieceCost    = 64
	frameCost    = 128
)

// list is datagrams by age.
type list struct{ front, back *datagram }

// push adds d at the young end.
func (l *list) push(d *datagram) {
	d.prev, d.next = l.back, nil
	if l.back != nil {
		l.back.next = d
	} else {
		l.front = d
	}
	l.back = d
}

// remove unlinks d.
func (l *list) remove(d *datagram) {
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		l.front = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	} else {
		l.back = d.prev
	}
	d.prev, d.next = nil, nil
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
}

// discard drops d and its contents.
func (r *Reassembler) discard(d *datagram) {
	delete(r.table, d.key)
	r.ages[d.family()].remove(d)
	r.stats.Bytes -= d.cost
	if r.last == d {
		r.last = nil
	}
}

// evict drops the oldest datagram except keep. Legitimate datagrams are complete within
// milliseconds, so under a flood the oldest belong to the flood.
func (r *Reassembler) evict(keep *datagram) bool {
	var oldest *datagram
	for i := range r.ages {
		d := r.ages[i].front
		if d != nil && d == keep {
			d = d.next
		}
		if d != nil && (oldest == nil || d.since < oldest.since) {
			oldest = d
		}
	}
	if oldest == nil {
		return false
	}
	if !oldest.decided {
		r.stats.Evicted++
	}
	r.discard(oldest)
	return true
}

// markDecided turns d into the record of a decided datagram: its data is freed, the sums that
// identify its fragments stay, and its timeout starts again.
func (r *Reassembler) markDecided(d *datagram, now int64) {
	r.stats.Bytes -= d.cost
	d.cost = 0
	for i := range d.pieces {
		d.pieces[i].data = nil
	}
	d.head, d.frames, d.decided = nil, nil, true
	r.charge(d, datagramCost+len(d.pieces)*pieceCost)
	l := &r.ages[d.family()]
	l.remove(d)
	d.since = now
	l.push(d)
	r.last = d
	for r.stats.Bytes > r.cfg.MaxBytes && r.evict(d) {
	}
}
