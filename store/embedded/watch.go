package embedded

import (
	"context"
	"iter"
	"sort"
	"strings"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/sluicenet/sluice/store"
)

// history is the latest changes, oldest first. Watches read it at their own pace; one that
// falls behind gets ErrCompacted, so that writers do not wait for readers.
type history struct {
	maxEvents, maxBytes int

	mu     sync.Mutex // guards what follows
	events []store.Event
	first  uint64 // number of events[0] in the life of the store
	bytes  int
	floor  store.Revision // events after it are all here
	last   store.Revision
	closed bool
	wake   chan struct{} // closed and replaced with each change
}

func (h *history) open(rev store.Revision, events, bytes int) {
	h.maxEvents, h.maxBytes = events, bytes
	h.floor, h.last = rev, rev
	h.wake = make(chan struct{})
}

// add appends changes in order; rev is the store's revision after them.
func (h *history) add(events []store.Event, rev store.Revision) {
	h.mu.Lock()
	defer h.mu.Unlock()
	newest := len(h.events)
	h.events = append(h.events, events...)
	for i := range events {
		h.bytes += size(&events[i])
	}
	h.last = rev
	cut := 0
	for cut < newest && (len(h.events)-cut > h.maxEvents || h.bytes > h.maxBytes) {
		h.bytes -= size(&h.events[cut])
		h.floor = h.events[cut].Object.Revision
		cut++
	}
	if cut > 0 {
		h.first += uint64(cut)
		h.events = append(make([]store.Event, 0, len(h.events)-cut+len(h.events)/4), h.events[cut:]...)
	}
	close(h.wake)
	h.wake = make(chan struct{})
}

func size(e *store.Event) int { return len(e.Object.Key) + len(e.Object.Value) + 64 }

func (h *history) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	close(h.wake)
	h.wake = make(chan struct{})
}

// cursor returns the position of a watch that has seen everything up to rev.
func (h *history) cursor(rev store.Revision) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if rev < h.floor {
		return 0, store.ErrCompacted
	}
	i := sort.Search(len(h.events), func(i int) bool { return h.events[i].Object.Revision > rev })
	return h.first + uint64(i), nil
}

// next copies events from number at on into buf, at most its capacity. If there are none
// it returns the channel to wait for.
func (h *history) next(at uint64, buf []store.Event) ([]store.Event, <-chan struct{}, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if at < h.first {
		return nil, nil, store.ErrCompacted
	}
	if i := int(at - h.first); i < len(h.events) {
		return append(buf, h.events[i:min(len(h.events), i+cap(buf))]...), nil, nil
	}
	if h.closed {
		return nil, nil, store.ErrClosed
	}
	return nil, h.wake, nil
}

// Watch yields the changes below prefix after a revision, in order, until ctx ends.
func (s *Store) Watch(ctx context.Context, prefix string, from store.Revision) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		if from == 0 {
			list, rev, err := s.List(ctx, prefix)
			if err != nil {
				if ctx.Err() == nil {
					yield(store.Event{}, err)
				}
				return
			}
			for _, o := range list {
				if ctx.Err() != nil || !yield(store.Event{Object: o}, nil) {
					return
				}
			}
			if ctx.Err() != nil || !yield(store.Event{Object: store.Object{Revision: rev}, Synced: true}, nil) {
				return
			}
			from = rev
		} else if err := s.reached(ctx, from); err != nil {
			yield(store.Event{}, err)
			return
		}
		at, err := s.history.cursor(from)
		if err != nil {
			yield(store.Event{}, err)
			return
		}
		s.follow(ctx, prefix, cursor{at: at, seen: from}, yield)
	}
}

// reached rejects a revision that this store never had: the watcher used another store.
func (s *Store) reached(ctx context.Context, rev store.Revision) error {
	return s.view(ctx, func(_ *bbolt.Bucket, at store.Revision) error {
		if rev > at {
			return store.ErrCompacted
		}
		return nil
	})
}

// cursor is the position of a watch.
type cursor struct {
	at   uint64
	seen store.Revision // a snapshot may be newer than the history
}

func (s *Store) follow(ctx context.Context, prefix string, c cursor, yield func(store.Event, error) bool) {
	buf := make([]store.Event, 0, 64)
	for ctx.Err() == nil {
		events, wait, err := s.history.next(c.at, buf[:0])
		if err != nil {
			yield(store.Event{}, err)
			return
		}
		c.at += uint64(len(events))
		for _, e := range events {
			if e.Object.Revision <= c.seen || !strings.HasPrefix(e.Object.Key, prefix) {
				continue
			}
			e.Object.Value = clone(e.Object.Value)
			if ctx.Err() != nil || !yield(e, nil) {
				return
			}
		}
		clear(buf[:cap(buf)])
		if wait != nil {
			select {
			case <-wait:
			case <-ctx.Done():
			}
		}
	}
}

// clone keeps nil, the value of a deleted object, distinct from empty.
func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}
