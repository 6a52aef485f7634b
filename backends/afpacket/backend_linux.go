package afpacket

import (
	"context"
	"fmt"
	"sync"

	"github.com/sluicenet/sluice/core/backend"
)

// Backend attaches taps and inline endpoints. Its methods may be called from
// any goroutine.
type Backend struct {
	cfg Config

	mu     sync.Mutex // guards what follows, and lets one attach or detach at a time
	closed bool
	open   map[backend.Attachment]struct{}
}

var _ backend.Backend = (*Backend)(nil)

// New makes a backend; nothing is opened before the first Attach.
func New(cfg Config) *Backend {
	return &Backend{cfg: cfg.withDefaults(), open: map[backend.Attachment]struct{}{}}
}

// Attach implements backend.Backend.
func (b *Backend) Attach(ctx context.Context, ep backend.Endpoint) (backend.Attachment, error) {
	if ep.ID == 0 || ep.ID >= 1<<24 {
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

// attachment takes itself off the backend's list when it is closed.
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
	return a.Attachment.Close()
}

// Close detaches everything and ends every queue. It implements backend.Backend.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	var first error
	for a := range b.open {
		queues := a.Queues()
		if err := a.(*attachment).closeLocked(); err != nil && first == nil {
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
