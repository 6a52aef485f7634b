package related

import "github.com/sluicenet/sluice/core/packet"

// Table is the expectations of one worker.
type Table struct {
	all   map[Key]entry
	ends  map[uint32]int
	peers map[peer]int
	order []Key // of all
	next  int   // where Expire continues
}

// entry is an expectation and its place in the order.
type entry struct {
	Expectation
	at int
}

// peer is who is charged for an expectation.
type peer struct {
	endpoint uint32
	addr     packet.Addr
}

// Len returns the number of expectations.
func (t *Table) Len() int { return len(t.all) }

// Of reports whether an endpoint has expectations.
func (t *Table) Of(endpoint uint32) bool { return t.ends[endpoint] > 0 }

// Add stores an expectation, in the place of one with the same key. It returns false where a
// bound is reached.
func (t *Table) Add(e *Expectation) bool {
	if old, ok := t.all[e.Key]; ok {
		if old.Peer != e.Peer {
			return false // it is charged to another
		}
		t.all[e.Key] = entry{*e, old.at}
		return true
	}
	who := peer{e.Endpoint, e.Peer}
	if len(t.all) >= Max || t.ends[e.Endpoint] >= MaxOfEndpoint || e.Peer != (packet.Addr{}) && t.peers[who] >= MaxOfPeer {
		return false
	}
	if t.all == nil {
		t.all, t.ends, t.peers = make(map[Key]entry), make(map[uint32]int), make(map[peer]int)
	}
	t.all[e.Key] = entry{*e, len(t.order)}
	t.order = append(t.order, e.Key)
	t.ends[e.Endpoint]++
	t.peers[who]++
	return true
}

// Find returns the expectation that a connection meets: to one end, from the other. anyFrom reports
// whether it may also meet one that is open to every host on the link. It allocates nothing.
func (t *Table) Find(to *Key, anyFrom bool, now int64) (Expectation, bool) {
	if len(t.all) == 0 || t.ends[to.Endpoint] == 0 {
		return Expectation{}, false
	}
	if e, ok := t.all[*to]; ok && e.Until >= now {
		return e.Expectation, true
	}
	if !anyFrom {
		return Expectation{}, false
	}
	k := *to
	k.From = packet.Addr{}
	e, ok := t.all[k]
	return e.Expectation, ok && e.Until >= now
}

// Remove deletes an expectation.
func (t *Table) Remove(k *Key) {
	e, ok := t.all[*k]
	if !ok {
		return
	}
	delete(t.all, *k)
	last := len(t.order) - 1
	if moved := t.order[last]; e.at != last {
		t.order[e.at] = moved
		m := t.all[moved]
		m.at = e.at
		t.all[moved] = m
	}
	t.order = t.order[:last]
	if t.ends[e.Endpoint]--; t.ends[e.Endpoint] == 0 {
		delete(t.ends, e.Endpoint)
	}
	who := peer{e.Endpoint, e.Peer}
	if t.peers[who]--; t.peers[who] == 0 {
		delete(t.peers, who)
	}
}

// Expire examines n expectations and removes those that have ended; the next call continues.
func (t *Table) Expire(n int, now int64) {
	for n = min(n, len(t.order)); n > 0 && len(t.order) > 0; n-- {
		if t.next >= len(t.order) {
			t.next = 0
		}
		k := t.order[t.next]
		if t.all[k].Until >= now {
			t.next++
			continue
		}
		t.Remove(&k)
	}
}

// Take removes the expectations of an endpoint and returns them.
func (t *Table) Take(endpoint uint32) (out []Expectation) {
	if t.ends[endpoint] == 0 {
		return nil
	}
	for k, e := range t.all {
		if k.Endpoint == endpoint {
			out = append(out, e.Expectation)
		}
	}
	for i := range out {
		t.Remove(&out[i].Key)
	}
	return out
}
