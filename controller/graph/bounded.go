package graph

import "container/list"

// bounded is a map of limited size. Its entries belong to shares; when it is full, the share
// with the most entries loses the one that was touched longest ago, so that one noisy share
// cannot push out the entries of others. The zero value is not usable.
type bounded[K comparable, V any] struct {
	items  map[K]*entry[K, V]
	order  *list.List            // of *entry, touched last in front
	shares map[string]*list.List // the same by share
}

type entry[K comparable, V any] struct {
	key      K
	value    V
	share    string
	at, mine *list.Element // in order and in its share
}

func newBounded[K comparable, V any]() bounded[K, V] {
	return bounded[K, V]{items: make(map[K]*entry[K, V]), order: list.New(), shares: make(map[string]*list.List)}
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
	b.order.MoveToFront(e.at)
	b.shares[e.share].MoveToFront(e.mine)
	return e.value, true
}

// insert adds a key that is not there, and returns the evicted values.
func (b *bounded[K, V]) insert(k K, v V, share string, limit int) (evicted []V) {
	for len(b.items) >= limit {
		x := b.victim(share)
		evicted = append(evicted, x.value)
		b.remove(x.key)
	}
	e := &entry[K, V]{key: k, value: v, share: share}
	own := b.shares[share]
	if own == nil {
		own = list.New()
		b.shares[share] = own
	}
	e.at, e.mine = b.order.PushFront(e), own.PushFront(e)
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
	return largest.Back().Value.(*entry[K, V])
}

func (b *bounded[K, V]) remove(k K) {
	e := b.items[k]
	if e == nil {
		return
	}
	b.order.Remove(e.at)
	own := b.shares[e.share]
	own.Remove(e.mine)
	if own.Len() == 0 {
		delete(b.shares, e.share)
	}
	delete(b.items, k)
}

// each calls fn for every entry, touched last first.
func (b *bounded[K, V]) each(fn func(v V, share string)) {
	for x := b.order.Front(); x != nil; x = x.Next() {
		e := x.Value.(*entry[K, V])
		fn(e.value, e.share)
	}
}
