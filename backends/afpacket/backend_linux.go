package afpacket

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/netns"
)

// Backend attaches taps and inline endpoints. Its methods may be called from
// any goroutine.
type Backend struct {
	cfg Config

	mu     sync.Mutex // guards the fields below, and serialises attaching and detaching
	closed bool
	open   map[*attachment]struct{}
	ports  map[netns.ID]*port
	// closing holds the ports being closed; the channel is closed when one is gone.
	closing map[netns.ID]chan struct{}
	// unjudged is what ports collected and TakeUnjudged has not returned yet.
	unjudged []backend.Unjudged
	repairs  *backend.Repairs
	wg       sync.WaitGroup // ports that wait or are being closed
}

var (
	_ backend.Backend  = (*Backend)(nil)
	_ backend.Repairer = (*Backend)(nil)
)

// New returns a backend; nothing is opened before the first Attach.
func New(cfg Config) *Backend {
	return &Backend{cfg: cfg.withDefaults(), repairs: backend.NewRepairs(), open: map[*attachment]struct{}{}, ports: map[netns.ID]*port{}, closing: map[netns.ID]chan struct{}{}}
}

// Attach implements backend.Backend.
func (b *Backend) Attach(ctx context.Context, ep backend.Endpoint) (backend.Attachment, error) {
	if ep.ID == 0 || ep.ID > backend.MaxID {
		return nil, fmt.Errorf("attach endpoint %d: %w: number out of range", ep.ID, ErrEndpoint)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("attach endpoint %d: %w", ep.ID, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, fmt.Errorf("attach endpoint %d: %w", ep.ID, ErrClosed)
	}
	var inner backend.Attachment
	var err error
	switch ep.Kind {
	case backend.Tap:
		var t *tap
		if t, err = openTap(ep, b.cfg); err == nil {
			inner = tapAttachment{t}
		}
	case backend.Inline:
		var a *inlineAttachment
		if a, err = b.attachInline(ep); err == nil {
			inner = a
		}
	default:
		err = fmt.Errorf("%w: kind %s", ErrEndpoint, ep.Kind)
	}
	if err != nil {
		return nil, fmt.Errorf("attach endpoint %d: %w", ep.ID, err)
	}
	a := &attachment{Attachment: inner, b: b}
	b.open[a] = struct{}{}
	return a, nil
}

// Repaired implements backend.Repairer.
func (b *Backend) Repaired() <-chan struct{} { return b.repairs.Repaired() }

// TakeRepairs implements backend.Repairer.
func (b *Backend) TakeRepairs() []backend.Repair {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.repairs.Take()
}

// Counters sums up the counters of the steering programs of all ports: steered, returned,
// bypassed and stopped (no heartbeat, fail open and closed), spoofed and forged (tags in
// addresses), unknown. Closed ports are not included.
func (b *Backend) Counters() (map[string]uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var sum [len(counterNames)]uint64
	for _, p := range b.ports {
		if err := p.counters(&sum); err != nil {
			return nil, err
		}
	}
	out := make(map[string]uint64, len(sum))
	for i, name := range counterNames {
		out[name] = sum[i]
	}
	return out, nil
}

// attachment removes itself from the backend's list when it is closed.
type attachment struct {
	backend.Attachment
	b *Backend
}

// Close implements backend.Attachment.
func (a *attachment) Close() error {
	a.b.mu.Lock()
	defer a.b.mu.Unlock()
	return a.closeLocked()
}

func (a *attachment) closeLocked() error {
	if _, ok := a.b.open[a]; !ok {
		return nil
	}
	delete(a.b.open, a)
	err := a.Attachment.Close()
	if in, ok := a.Attachment.(*inlineAttachment); ok {
		err = errors.Join(err, a.b.release(in.port))
	}
	return err
}

// Close detaches everything and ends every queue. It implements backend.Backend.
func (b *Backend) Close() error {
	return errors.Join(b.closeAttached(), b.endPorts())
}

func (b *Backend) closeAttached() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	var first error
	for a := range b.open {
		queues := a.Queues()
		if err := a.closeLocked(); err != nil && first == nil {
			first = err
		}
		for _, q := range queues {
			if err := q.Close(); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}
