package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/store"
)

const (
	probeEvery = 3 * time.Second
	probeWait  = 5 * time.Second
)

// probed checks a store from time to time, so that no reader of its state has to wait for it.
type probed struct {
	st   store.Store
	name string
	last atomic.Pointer[controlv1.StoreState] // what it points to is not changed
}

func newProbed(st store.Store, name string) *probed {
	p := &probed{st: st, name: name}
	p.last.Store(&controlv1.StoreState{Name: name, Error: "not asked yet"})
	return p
}

// run asks until ctx ends.
func (p *probed) run(ctx context.Context) error {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		p.probe(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (p *probed) probe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	s := &controlv1.StoreState{Name: p.name, Revision: p.last.Load().Revision}
	h, err := store.Health{}, errors.New("the store has no check")
	if q, ok := p.st.(store.Prober); ok {
		h, err = q.Probe(ctx)
	}
	if s.Reachable = err == nil; s.Reachable {
		s.Leader = h.Leader
		s.Revision = max(s.Revision, uint64(h.Revision))
	} else {
		s.Error = err.Error()
	}
	s.Checked = time.Now().UnixNano()
	p.last.Store(s)
}

// state is the store as it was when asked last.
func (p *probed) state() *controlv1.StoreState { return p.last.Load() }
