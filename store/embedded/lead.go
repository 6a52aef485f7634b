package embedded

import (
	"context"
	"fmt"
	"sync"

	"github.com/sluicenet/sluice/store"
)

// leads are the leaderships of this process; no other one can open the file.
type leads struct {
	mu     sync.Mutex // guards what follows
	held   map[string]*lead
	closed bool
}

// lead is one leadership held.
type lead struct {
	of     *leads
	name   string
	holder string
	lost   chan struct{}
	once   sync.Once
}

// Lead blocks until this holder leads under name, or ctx ends. Leadership is lost only by the store's
// Close.
func (s *Store) Lead(ctx context.Context, name, holder string) (store.Leadership, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		l, other, err := s.leads.try(name, holder)
		if err != nil || l != nil {
			return leadership(l), err
		}
		select {
		case <-other.lost:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait to lead %s, which %s does: %w", name, other.holder, ctx.Err())
		}
	}
}

// leadership returns a nil Leadership for a nil *lead.
func leadership(l *lead) store.Leadership {
	if l == nil {
		return nil
	}
	return l
}

// try takes the leadership, or returns its holder.
func (ls *leads) try(name, holder string) (mine, other *lead, err error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closed {
		return nil, nil, store.ErrClosed
	}
	if l := ls.held[name]; l != nil {
		return nil, l, nil
	}
	l := &lead{of: ls, name: name, holder: holder, lost: make(chan struct{})}
	ls.held[name] = l
	return l, nil, nil
}

func (ls *leads) closeAll() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.closed = true
	for name, l := range ls.held {
		delete(ls.held, name)
		l.once.Do(func() { close(l.lost) })
	}
}

// Lost is closed when the leadership is over, by Resign too.
func (l *lead) Lost() <-chan struct{} { return l.lost }

// Resign ends the leadership. It may be called again.
func (l *lead) Resign() error {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.once.Do(func() {
		delete(l.of.held, l.name)
		close(l.lost)
	})
	return nil
}
