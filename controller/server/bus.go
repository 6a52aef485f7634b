package server

import (
	"context"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// readerBuffer is how many events a reader may be behind before it misses the oldest.
const readerBuffer = 4096

// bus hands events to everyone who observes. It never waits for a reader.
type bus struct {
	active  atomic.Int32
	mu      sync.Mutex // guards readers
	readers map[*reader]struct{}
}

// reader is one Observe call.
type reader struct {
	match  func(*controlv1.Event) bool
	mu     sync.Mutex // guards what follows
	ring   []*controlv1.Event
	start  int
	count  int
	missed uint64
	wake   chan struct{}
}

// observed says whether anybody reads; where nobody does, events need not be made.
func (b *bus) observed() bool { return b.active.Load() > 0 }

// publish hands an event to every reader that it concerns. It must not be changed afterwards.
func (b *bus) publish(e *controlv1.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for r := range b.readers {
		if r.match(e) {
			r.put(e)
		}
	}
}

// subscribe begins to read; unsubscribe ends it.
func (b *bus) subscribe(match func(*controlv1.Event) bool) *reader {
	r := &reader{match: match, ring: make([]*controlv1.Event, readerBuffer), wake: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.readers == nil {
		b.readers = make(map[*reader]struct{})
	}
	b.readers[r] = struct{}{}
	b.active.Add(1)
	return r
}

func (b *bus) unsubscribe(r *reader) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.readers, r)
	b.active.Add(-1)
}

// put keeps an event; the oldest makes room for it.
func (r *reader) put(e *controlv1.Event) {
	r.mu.Lock()
	if r.count == len(r.ring) {
		r.start = (r.start + 1) % len(r.ring)
		r.count--
		r.missed++
	}
	r.ring[(r.start+r.count)%len(r.ring)] = e
	r.count++
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// errEnded says that the server closed.
var errEnded = status.Error(codes.Unavailable, "the controller is closing")

// next waits for an event until ctx ends or closed is closed. It says how many were
// missed since the one before.
func (r *reader) next(ctx context.Context, closed <-chan struct{}) (e *controlv1.Event, missed uint64, err error) {
	for {
		r.mu.Lock()
		if r.count > 0 {
			e, r.ring[r.start] = r.ring[r.start], nil
			r.start = (r.start + 1) % len(r.ring)
			r.count--
			missed, r.missed = r.missed, 0
			r.mu.Unlock()
			return e, missed, nil
		}
		r.mu.Unlock()
		select {
		case <-r.wake:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-closed:
			return nil, 0, errEnded
		}
	}
}
