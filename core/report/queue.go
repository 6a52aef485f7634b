package report

import "github.com/sluicenet/sluice/core/flow"

const (
	// outboxLimit bounds the records waiting for Drain, per worker, and the threats.
	outboxLimit = 1 << 16
	// share is how many items an owner may have waiting for each one that there is room for, as for
	// sessions: none can use up the room of others.
	share = 7
	// uncrowded is the length up to which no endpoint can exceed its share.
	uncrowded = outboxLimit / (share + 1) * share
)

// queue is a bounded list of what waits for the collector. Its endpoints share the bound.
type queue[T any] struct {
	items   []T
	of      map[uint32]int // items by endpoint; valid where counted
	counted bool           // it is crowded
	lossy   losses
}

// losses are the endpoints of which items were dropped, and whether one of theirs was marked since.
type losses map[uint32]bool

// mark marks a record of an endpoint of which others were dropped.
func (l losses) mark(f *flow.Record) {
	if _, ok := l[f.Endpoint]; ok {
		f.Lossy, l[f.Endpoint] = true, true
	}
}

// carry keeps the losses that no record shows yet.
func (q *queue[T]) carry(l losses) {
	for id, marked := range l {
		if !marked {
			q.lose(id)
		}
	}
}

func (q *queue[T]) lose(endpoint uint32) {
	if q.lossy == nil {
		q.lossy = losses{}
	}
	q.lossy[endpoint] = false
}

// WithinShare reports whether an owner of n items may have one more where there is room for so many.
func WithinShare(n, room int) bool { return room > 0 && (n == 0 || n < share*room) }

// add appends items and returns the number of those beyond their endpoint's share, which are dropped.
func (q *queue[T]) add(items []T, endpoint func(*T) uint32) (dropped uint64) {
	if len(q.items)+len(items) <= uncrowded {
		q.items = append(q.items, items...)
		return 0
	}
	if q.of == nil {
		q.of = map[uint32]int{}
	}
	if !q.counted {
		q.counted = true
		for i := range q.items {
			q.of[endpoint(&q.items[i])]++
		}
	}
	for i := range items {
		id := endpoint(&items[i])
		n, room := q.of[id], outboxLimit-len(q.items)
		if !WithinShare(n, room) {
			q.lose(id)
			dropped++
			continue
		}
		q.of[id]++
		q.items = append(q.items, items[i])
	}
	return dropped
}

// takeItems removes and returns the items, for which spare is the list that is filled next.
func (q *queue[T]) takeItems(spare []T) []T {
	got := q.items
	q.items, q.counted = spare, false
	clear(q.of)
	return got
}
