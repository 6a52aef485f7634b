package nfqueue

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/netns"
)

// Backend attaches inline endpoints by netfilter queues. Its methods may be called from any
// goroutine.
type Backend struct {
	cfg Config

	mu     sync.Mutex // guards the fields below, and serialises attaching and detaching
	closed bool
	open   map[*attachment]struct{}

	spaceMu sync.Mutex // guards spaces; taken after mu
	spaces  map[netns.ID]*space

	repairMu sync.Mutex // guards repairs
	repairs  *backend.Repairs

	once sync.Once     // starts beats
	stop chan struct{} // closed by Close
	wg   sync.WaitGroup
}

var (
	_ backend.Backend  = (*Backend)(nil)
	_ backend.Repairer = (*Backend)(nil)
)

// New returns a backend; nothing is opened before the first Attach.
func New(cfg Config) *Backend {
	return &Backend{cfg: cfg.withDefaults(), open: map[*attachment]struct{}{}, spaces: map[netns.ID]*space{}, repairs: backend.NewRepairs(), stop: make(chan struct{})}
}

// Attach implements backend.Backend.
func (b *Backend) Attach(ctx context.Context, ep backend.Endpoint) (backend.Attachment, error) {
	err := ctx.Err()
	switch {
	case err != nil:
	case ep.ID == 0:
		err = fmt.Errorf("%w: no number", ErrEndpoint)
	case ep.Kind != backend.Inline:
		err = fmt.Errorf("%w: kind %s", ErrEndpoint, ep.Kind)
	case ep.Hook.Side != backend.StackSide && ep.Hook.Side != backend.LoopbackSide:
		err = fmt.Errorf("%w: hook outside of the workload's stack", ErrEndpoint)
	}
	if err != nil {
		return nil, fmt.Errorf("attach endpoint %d: %w", ep.ID, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, fmt.Errorf("attach endpoint %d: %w", ep.ID, ErrClosed)
	}
	b.once.Do(func() {
		b.wg.Add(1)
		go b.beats()
	})
	a, err := b.attach(ep)
	if err != nil {
		return nil, fmt.Errorf("attach endpoint %d: %w", ep.ID, err)
	}
	b.open[a] = struct{}{}
	return a, nil
}

func (b *Backend) attach(ep backend.Endpoint) (*attachment, error) {
	if err := present(ep); err != nil {
		return nil, err
	}
	s, err := b.space(ep.NetNS)
	if err != nil {
		return nil, err
	}
	// The queues have their own references.
	defer func() { _ = b.release(s) }()
	n := b.cfg.Queues
	if ep.Hook.Side == backend.LoopbackSide {
		n = 1 // lo has no other end
	}
	srcs, err := s.sources(n, ep.Fail == backend.FailOpen)
	if err != nil {
		return nil, err
	}
	a := &attachment{b: b, space: s, hooked: hooked{
		name: ep.Interface, endpoint: ep.ID, loopback: ep.Hook.Side == backend.LoopbackSide, queue: srcs[0].num, queues: uint16(len(srcs)), bypass: ep.Fail == backend.FailOpen,
	}}
	for i, src := range srcs {
		q, err := newQueue(ep, s, src, b)
		if err == nil {
			a.queues = append(a.queues, q)
			continue
		}
		for _, q := range a.queues {
			err = errors.Join(err, q.Close())
		}
		for _, src := range srcs[i:] {
			s.free(src.num)
			err = errors.Join(err, src.close(), b.release(s))
		}
		return nil, err
	}
	return a, nil
}

// space returns the namespace at path, with a reference that release drops.
func (b *Backend) space(path string) (*space, error) {
	id, err := netns.Identity(path)
	if err != nil {
		return nil, err
	}
	b.spaceMu.Lock()
	defer b.spaceMu.Unlock()
	s := b.spaces[id]
	if s == nil {
		if s, err = openSpace(path, id, b.cfg); err != nil {
			return nil, err
		}
		b.spaces[id] = s
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refs++
	return s, nil
}

// release drops a reference.
func (b *Backend) release(s *space) error {
	b.spaceMu.Lock()
	defer b.spaceMu.Unlock()
	last, err := s.release()
	if last {
		delete(b.spaces, s.id)
	}
	return err
}

// present checks that the interface exists.
func present(ep backend.Endpoint) error {
	return netns.Do(ep.NetNS, func() error {
		i, err := net.InterfaceByName(ep.Interface)
		if err != nil {
			return fmt.Errorf("%w: interface %s: %w", ErrEndpoint, ep.Interface, err)
		}
		if ep.Index != 0 && i.Index != ep.Index {
			return fmt.Errorf("%w: interface %s has number %d, not %d", ErrEndpoint, ep.Interface, i.Index, ep.Index)
		}
		return nil
	})
}

var (
	_ backend.Recaller = (*attachment)(nil)
	_ backend.Spreader = (*attachment)(nil)
)

// attachment is one endpoint with its queues.
type attachment struct {
	b      *Backend
	space  *space
	hooked hooked
	queues []*queue
	active atomic.Bool // Activate was called: packets may be in the queues
}

// Queues implements backend.Attachment.
func (a *attachment) Queues() []backend.Queue {
	out := make([]backend.Queue, len(a.queues))
	for i, q := range a.queues {
		out[i] = q
	}
	return out
}

// Place implements backend.Spreader, consistently with the rules.
func (a *attachment) Place(peer packet.Addr) int { return int(peer[15]) & (len(a.queues) - 1) }

// Activate implements backend.Attachment.
func (a *attachment) Activate() error {
	a.active.Store(true)
	a.space.heart.add(a.queues)
	if err := a.space.hook(a.hooked); err != nil {
		return fmt.Errorf("activate endpoint on %s: %w", a.hooked.name, err)
	}
	return nil
}

// Recall implements backend.Recaller.
func (a *attachment) Recall(generation uint32) error {
	a.space.mu.Lock()
	defer a.space.mu.Unlock()
	return a.space.recall(generation)
}

// Stays implements backend.Recaller.
func (a *attachment) Stays() string {
	a.space.mu.Lock()
	defer a.space.mu.Unlock()
	return a.space.set.marks.stays
}

// Close implements backend.Attachment: the rules are removed at once, the queues when they
// are empty.
func (a *attachment) Close() error {
	a.b.mu.Lock()
	_, open := a.b.open[a]
	delete(a.b.open, a)
	a.b.mu.Unlock()
	if !open {
		return nil
	}
	err := a.space.unhook(a.hooked.queue)
	for _, q := range a.queues {
		if a.active.Load() {
			q.stop()
		} else {
			err = errors.Join(err, q.Close())
		}
	}
	return err
}

// Close detaches everything and ends every queue. It implements backend.Backend.
func (b *Backend) Close() error {
	b.mu.Lock()
	if !b.closed {
		close(b.stop)
	}
	b.closed = true
	list := make([]*attachment, 0, len(b.open))
	for a := range b.open {
		list = append(list, a)
	}
	b.mu.Unlock()
	var errs []error
	for _, a := range list {
		errs = append(errs, a.Close())
		for _, q := range a.queues {
			errs = append(errs, q.Close())
		}
	}
	b.wg.Wait()
	return errors.Join(errs...)
}
