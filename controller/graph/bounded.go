package graph

import (
	"container/list"
	"net/netip"
)

// owner is whose part of a bound an entry takes: a workload's share of it, and in that a source's, as
// others choose their addresses freely.
type owner struct {
	share  string
	source netip.Addr // of an IPv6 host its /64
}

// ownerOf returns the owner of what came from an address.
func ownerOf(share string, from netip.Addr) owner {
	if from.Is6() {
		p, _ := from.Prefix(64)
		from = p.Addr()
	}
	return owner{share, from}
}

// bounded is a map of limited size. Its entries belong to shares; when it is full, the share
// with the most entries loses the one that was touched longest ago, so that one noisy share
// cannot push out the entries of others. In a share, a source with more than an eighth of it makes
// room first. The zero value is not usable.
type bounded[K comparable, V any] struct {
	items  map[K]*entry[K, V]
	order  *list.List // of *entry, touched last in front
	shares map[string]*part
}

// part is the entries of a share.
type part struct {
	list.List                           // of *entry, touched last in front
	sources   map[netip.Addr]*list.List // the same by source
	heavy     *list.List                // the source that last had more than its part; nil for none
}

// sourcePart is the part of a share, one of so many, beyond which a source makes room itself.
const sourcePart = 8

// oldest returns the entry of a share that makes room.
func (p *part) oldest() any {
	if p.heavy != nil && p.heavy.Len()*sourcePart > p.Len() {
		return p.heavy.Back().Value
	}
	return p.Back().Value
}

type entry[K comparable, V any] struct {
	key            K
	value          V
	owner          owner
	at, mine, from *list.Element // in order, in its share and in its source's part of that
}

func newBounded[K comparable, V any]() bounded[K, V] {
	return bounded[K, V]{items: make(map[K]*entry[K, V]), order: list.New(), shares: make(map[string]*part)}
}

// get returns the value of a key.
func (b *bounded[K, V]) get(k K) (v V, ok bool) {
	if e := b.items[k]; e != nil {
		return e.value, true
	}
	return v, false
}

// touch is get, and makes the key the newest.
func (b *bounded[K, V]) touch(k K) (v V, ok bool) {
	e := b.items[k]
	if e == nil {
		return v, false
	}
	own := b.shares[e.owner.share]
	b.order.MoveToFront(e.at)
	own.MoveToFront(e.mine)
	own.sources[e.owner.source].MoveToFront(e.from)
	return e.value, true
}

// insert adds a key that is not there, and returns the evicted values.
func (b *bounded[K, V]) insert(k K, v V, o owner, limit int) (evicted []V) {
	for len(b.items) >= limit {
		x := b.victim(o.share)
		evicted = append(evicted, x.value)
		b.remove(x.key)
	}
	e := &entry[K, V]{key: k, value: v, owner: o}
	own := b.shares[o.share]
	if own == nil {
		own = &part{sources: make(map[netip.Addr]*list.List)}
		b.shares[o.share] = own
	}
	from := own.sources[o.source]
	if from == nil {
		from = list.New()
		own.sources[o.source] = from
	}
	e.at, e.mine, e.from = b.order.PushFront(e), own.PushFront(e), from.PushFront(e)
	if from.Len()*sourcePart > own.Len() {
		own.heavy = from
	}
	b.items[k] = e
	return evicted
}

// victim returns the entry that makes room for one of a share. A share that has its part
// already makes room itself, which saves the look at all of them in a flood.
func (b *bounded[K, V]) victim(share string) *entry[K, V] {
	largest := b.shares[share]
	if largest == nil || largest.Len()*len(b.shares) <= len(b.items) {
		for _, l := range b.shares {
			if largest == nil || l.Len() > largest.Len() {
				largest = l
			}
		}
	}
	return largest.oldest().(*entry[K, V])
}

func (b *bounded[K, V]) remove(k K) {
	e := b.items[k]
	if e == nil {
		return
	}
	b.order.Remove(e.at)
	own := b.shares[e.owner.share]
	own.Remove(e.mine)
	from := own.sources[e.owner.source]
	if from.Remove(e.from); from.Len() == 0 {
		delete(own.sources, e.owner.source)
		if own.heavy == from {
			own.heavy = nil
		}
	}
	if own.Len() == 0 {
		delete(b.shares, e.owner.share)
	}
	delete(b.items, k)
}

// each calls fn for every entry, touched last first.
func (b *bounded[K, V]) each(fn func(v V, share string)) {
	for x := b.order.Front(); x != nil; x = x.Next() {
		e := x.Value.(*entry[K, V])
		fn(e.value, e.owner.share)
	}
}
