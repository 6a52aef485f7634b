package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	parserv1 "github.com/sluicenet/sluice/api/parser/v1"
	"github.com/sluicenet/sluice/plugins/wire"
)

// Reasons why the host ends a run of a plugin.
var (
	// ErrHung is the reason for killing a plugin that does not answer.
	ErrHung = errors.New("it does not answer")
	// ErrProtocol is the reason for killing a plugin that violates the protocol.
	ErrProtocol = errors.New("protocol violation")
	// errReplaced is the reason for ending a replaced plugin.
	errReplaced = errors.New("another file replaced it")
	// errEnded is the reason of a run whose process ended; autopsy adds details.
	errEnded = errors.New("it ended")
)

// watch waits for a reason to end the process.
func (p *process) watch(ctx context.Context, l *live) error {
	tick := time.NewTicker(p.h.cfg.Deadline / 8)
	defer tick.Stop()
	pings := pinger{l: l, deadline: p.h.cfg.Deadline, done: make(chan error, 1)}
	defer pings.stop()
	marks := map[*stream]mark{}
	var leaves time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.run.Load().done:
			return errEnded
		case err := <-l.failed:
			return err
		case err := <-pings.done:
			if pings.busy = false; err != nil {
				return p.silent(err)
			}
		case now := <-tick.C:
			pings.next(ctx, now)
			if stuck(l.list(), marks, now, p.h.cfg.Deadline) {
				return p.silent(ErrHung)
			}
			if !p.leaving.Load() {
				continue
			}
			if leaves.IsZero() {
				leaves = now.Add(p.h.cfg.Drain)
			} else if p.busy.Load() <= 0 || now.After(leaves) {
				return errReplaced
			}
		}
	}
}

// silent returns the reason for ending a plugin that did not answer.
func (p *process) silent(err error) error {
	if !errors.Is(err, ErrHung) && status.Code(err) != codes.DeadlineExceeded {
		return err
	}
	p.h.count.hung.Add(1)
	if errors.Is(err, ErrHung) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrHung, err)
}

// autopsyTime is how long a process with broken streams may take to end itself, so that its reason is known.
const autopsyTime = time.Second

// autopsy returns why a run ended: by the end of the process if possible, else by that of its streams. It
// counts a panic of the process.
func (p *process) autopsy(l *live, err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, ErrHung), errors.Is(err, errReplaced):
		return err
	case errors.Is(err, ErrProtocol):
		p.h.count.protocol.Add(1)
		return err
	}
	r := l.run.Load()
	select {
	case <-r.read:
	case <-time.After(autopsyTime):
		return err // it still runs
	}
	_, fatal := p.out.lastWords()
	if fatal == "" {
		return fmt.Errorf("%w: %s", errEnded, r.ended)
	}
	p.panics.Add(1)
	p.h.count.panics.Add(1)
	return fmt.Errorf("%w: %s: %s", errEnded, r.ended, fatal)
}

// mark is where a stream was when it last moved.
type mark struct {
	done uint64
	at   time.Time
}

// stuck reports whether a stream has waited for an answer for longer than the deadline.
func stuck(streams []*stream, marks map[*stream]mark, now time.Time, deadline time.Duration) bool {
	for _, st := range streams {
		m, done := marks[st], st.done.Load()
		if st.handed.Load() == done || m.done != done || m.at.IsZero() {
			marks[st] = mark{done, now}
			continue
		}
		if now.Sub(m.at) > deadline {
			return true
		}
	}
	return false
}

// pinger pings a plugin every second.
type pinger struct {
	l        *live
	deadline time.Duration
	last     time.Time
	busy     bool
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	done     chan error
}

func (g *pinger) next(ctx context.Context, now time.Time) {
	if g.busy || now.Sub(g.last) < time.Second {
		return
	}
	ctx, g.cancel = context.WithTimeout(ctx, g.deadline)
	g.busy, g.last = true, now
	cancel := g.cancel
	g.wg.Go(func() {
		defer cancel()
		_, err := g.l.client.Describe(ctx, &parserv1.DescribeRequest{Format: wire.Format})
		g.done <- err
	})
}

func (g *pinger) stop() {
	if g.cancel != nil {
		g.cancel()
	}
	g.wg.Wait()
}
