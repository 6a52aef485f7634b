package graph

import "container/list"

// bounded is a map that forgets what was touched longest ago. The zero value is not usable.
type bounded[K comparable, V any] struct {
	items map[K]*list.Element
	order *list.List // of entries, touched last in front
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

func newBounded[K comparable, V any]() bounded[K, V] {
	return bounded[K, V]{items: make(map[K]*list.Element), order: list.New()}
}

// get is the value of a key.
func (b *bounded[K, V]) get(k K) (v V, ok bool) {
	if e := b.items[k]; e != nil {
		return e.Value.(*entry[K, V]).value, true
	}
	return v, false
}

// touch is get, and makes the key the newest.
func (b *bounded[K, V]) touch(k K) (v V, ok bool) {
	if e := b.items[k]; e != nil {
		b.order.MoveToFront(e)
		return e.Value.(*entry[K, V]).value, true
	}
	return v, false
}

// put adds a key that is not there, and says how many made room for it.
func (b *bounded[K, V]) put(k K, v V, limit int) (evicted uint64) {
	for len(b.items) >= limit {
		b.remove(b.order.Back().Value.(*entry[K, V]).key)
		evicted++
	}
	b.items[k] = b.order.PushFront(&entry[K, V]{k, v})
	return evicted
}

func (b *bounded[K, V]) remove(k K) {
	if e := b.items[k]; e != nil {
		b.order.Remove(e)
		delete(b.items, k)
	}
}

// newest is the values, touched last first, at most limit; 0 is all.
func (b *bounded[K, V]) newest(limit int) []V {
	if limit <= 0 || limit > len(b.items) {
		limit = len(b.items)
	}
	out := make([]V, 0, limit)
	for e := b.order.Front(); e != nil && len(out) < limit; e = e.Next() {
		out = append(out, e.Value.(*entry[K, V]).value)
	}
	return out
}
