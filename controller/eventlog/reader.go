package eventlog

import (
	"context"
	"errors"
	"sync"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/filter"
)

// readerBuffer is how many new events a reader may be behind before it misses the oldest.
const readerBuffer = 4096

// Reader is one stream of events.
type Reader struct {
	filter *filter.Filter

	mu      sync.Mutex // guards what follows
	backlog []*Entry   // kept when it began, read first
	ring    []*Entry
	start   int
	count   int
	missed  uint64
	wake    chan struct{}
}

// Subscribe begins to read: behind a cursor, or with the last events that are kept, or with the
// next one. Close ends it.
func (l *Log) Subscribe(f *filter.Filter, cursor string, last int) (*Reader, error) {
	r := &Reader{filter: f, ring: make([]*Entry, readerBuffer), wake: make(chan struct{}, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case cursor != "":
		seq, own, err := l.position(cursor)
		if err != nil {
			return nil, err
		}
		// What a filter would have accepted of the lost ones is unknown: they may all have been wanted.
		if r.backlog, r.missed = l.after(seq, f); !own {
			r.missed = max(r.missed, 1)
		}
	case last > 0:
		all, _ := l.after(0, f)
		r.backlog = all[max(0, len(all)-last):]
	}
	l.readers[r] = struct{}{}
	return r, nil
}

// Close ends reading.
func (l *Log) Close(r *Reader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.readers, r)
}

// deliver buffers an event; the oldest one is dropped where there is no room.
func (r *Reader) deliver(e *Entry) {
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

// ErrClosed is the error of Next after its channel was closed.
var ErrClosed = errors.New("the event log is closed")

// Next waits for an event until ctx ends or closed is closed, and returns how many were missed
// since the one before. The event is not to be changed.
func (r *Reader) Next(ctx context.Context, closed <-chan struct{}) (e *controlv1.Event, missed uint64, err error) {
	for {
		if e, missed := r.pop(); e != nil {
			return e.Event, missed, nil
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-closed:
			return nil, 0, ErrClosed
		}
	}
}

// pop returns the next event; nil where there is none yet. Events that were missed came after the
// backlog, except those that were lost before it began.
func (r *Reader) pop() (e *Entry, missed uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case len(r.backlog) > 0:
		e, r.backlog[0] = r.backlog[0], nil
		r.backlog = r.backlog[1:]
	case r.count > 0:
		e, r.ring[r.start] = r.ring[r.start], nil
		r.start = (r.start + 1) % len(r.ring)
		r.count--
	default:
		return nil, 0
	}
	missed, r.missed = r.missed, 0
	return e, missed
}
