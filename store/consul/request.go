package consul

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/sluicenet/sluice/internal/backoff"
	"github.com/sluicenet/sluice/store"
)

// refused is an error of a request that was not applied and would not be by another server.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

// doRequest makes one request to the server that answered last. If that does not answer, the next request
// goes to another.
func (s *Store) doRequest(ctx context.Context, limit time.Duration, fn func(context.Context, *api.Client) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.ctx.Err() != nil {
		return store.ErrClosed
	}
	attempt, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	at := s.at.Load()
	err := fn(attempt, s.clients[int(at)%len(s.clients)])
	switch {
	case err == nil:
		s.logOutcome(nil)
		return nil
	case s.ctx.Err() != nil:
		return store.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if permanent(err) {
		return refused{explain(err)}
	}
	s.logOutcome(err)
	s.at.CompareAndSwap(at, at+1)
	return explain(err)
}

// answer is the response of one server.
type answer struct {
	yes bool
	at  uint32
	err error
}

// first sends a request to the server that answered last, then, after each hedge or failure, also to the
// next one, and returns the first response. It is for requests that may be applied twice.
func (s *Store) first(ctx context.Context, fn func(context.Context, *api.Client) (bool, error)) (bool, error) {
	if s.ctx.Err() != nil {
		return false, store.ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	begin, most := s.at.Load(), uint32(requestTime/hedge)
	answers := make(chan answer, most)
	next := time.NewTimer(0)
	defer next.Stop()
	for sent, failed := uint32(0), uint32(0); ; {
		select {
		case <-next.C:
			if sent == most {
				continue
			}
			at := begin + sent
			go func() {
				yes, err := fn(ctx, s.clients[int(at)%len(s.clients)])
				answers <- answer{yes, at, err}
			}()
			sent++
			next.Reset(hedge)
		case a := <-answers:
			switch {
			case a.err == nil:
				s.logOutcome(nil)
				s.at.CompareAndSwap(begin, a.at)
				return a.yes, nil
			case permanent(a.err):
				return false, refused{explain(a.err)}
			case s.ctx.Err() != nil:
				return false, store.ErrClosed
			}
			s.logOutcome(a.err)
			if failed++; failed == most {
				return false, a.err
			}
			if failed == sent {
				next.Reset(hedge / 4)
			}
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// call makes an idempotent request until a server answers, or ctx or patience ends.
func (s *Store) call(ctx context.Context, fn func(context.Context, *api.Client) error) error {
	return s.retry(ctx, fn, func(error) bool { return true })
}

// retry repeats a request while again reports true for its error.
func (s *Store) retry(ctx context.Context, fn func(context.Context, *api.Client) error, again func(error) bool) error {
	limit := time.Now().Add(s.o.Patience)
	pause := pauses()
	for n := 1; ; n++ {
		err := s.doRequest(ctx, requestTime, fn)
		var no refused
		if err == nil || errors.As(err, &no) || ctx.Err() != nil || errors.Is(err, store.ErrClosed) || !again(err) || time.Now().After(limit) {
			return err
		}
		if n%len(s.clients) != 0 {
			continue // another server, at once
		}
		if err := s.sleep(ctx, pause.Next()); err != nil {
			return err
		}
	}
}

// pauses are the waits between attempts while Consul does not answer.
func pauses() backoff.Backoff { return backoff.Backoff{First: firstWait, Last: lastWait} }

// sleep waits; the error is the reason for an early end.
func (s *Store) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return store.ErrClosed
	}
}

// permanent reports whether another try would get the same response: Consul understood and refused.
func permanent(err error) bool {
	var se api.StatusError
	if errors.As(err, &se) {
		return se.Code >= 400 && se.Code < 500 && se.Code != http.StatusTooManyRequests
	}
	// Transactions report errors as text only.
	text := err.Error()
	return strings.Contains(text, "too large") || strings.Contains(text, "Permission denied") || strings.Contains(text, "ACL not found")
}

// untouched reports whether a request that ended in err was certainly not applied.
func untouched(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" || errors.Is(err, syscall.ECONNREFUSED) {
		return true
	}
	return strings.Contains(err.Error(), "No cluster leader")
}
