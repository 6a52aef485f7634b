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

// Reasons for which a run of a plugin is ended from here.
var (
	// ErrHung is why a plugin that does not answer is killed.
	ErrHung = errors.New("it does not answer")
	// ErrProtocol is why a plugin that violates the protocol is killed.
	ErrProtocol = errors.New("protocol violation")
	// errReplaced is why a plugin that another file replaced is ended.
	errReplaced = errors.New("another file replaced it")
	// errEnded is why a run ends whose process ended; autopsy knows more.
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

// silent returns why a plugin that did not answer is ended.
func (p *process) silent(err error) error {
	if !errors.Is(err, ErrHung) && status.Code(err) != codes.DeadlineExceeded {
		return err
	}
	p.h.count.hung.Add(1)
	return errors.Join(ErrHung, err)
}

// autopsyTime is how long a process whose streams broke is given to end by itself, so that its reason is known.
const autopsyTime = time.Second

// autopsy returns why a run ended, which the process's end says better than its streams'. A panic of the process
// as a whole is counted.
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
		return err // it runs on
	}
	_, fatal := p.out.words()
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

// pinger asks a plugin every second whether it is there.
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
