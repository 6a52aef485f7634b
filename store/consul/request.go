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

// refused is an error that says that the request was not carried out and would not be by another
// server either.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

// ask makes one request to the server that answered last. Where that does not answer, the next
// request goes to another.
func (s *Store) ask(ctx context.Context, limit time.Duration, fn func(context.Context, *api.Client) error) error {
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
		s.note(nil)
		return nil
	case s.ctx.Err() != nil:
		return store.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if permanent(err) {
		return refused{explain(err)}
	}
	s.note(err)
	s.at.CompareAndSwap(at, at+1)
	return explain(err)
}

// answer is what one server said.
type answer struct {
	yes bool
	at  uint32
	err error
}

// first asks the server that answered last, then, each time hedge has passed or a server has failed,
// the next one too, and takes the first answer. It is for requests that may be carried out twice.
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
				s.note(nil)
				s.at.CompareAndSwap(begin, a.at)
				return a.yes, nil
			case permanent(a.err):
				return false, refused{explain(a.err)}
			case s.ctx.Err() != nil:
				return false, store.ErrClosed
			}
			s.note(a.err)
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

// call makes a request that may be repeated, until a server answers, ctx ends or patience does.
func (s *Store) call(ctx context.Context, fn func(context.Context, *api.Client) error) error {
	return s.retry(ctx, fn, func(error) bool { return true })
}

// retry makes a request again while again says so of the error.
func (s *Store) retry(ctx context.Context, fn func(context.Context, *api.Client) error, again func(error) bool) error {
	limit := time.Now().Add(s.o.Patience)
	pause := pauses()
	for n := 1; ; n++ {
		err := s.ask(ctx, requestTime, fn)
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

// sleep waits; the error is the reason for not waiting to the end.
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

// permanent says whether another try would bring the same answer: Consul understood and refused.
func permanent(err error) bool {
	var se api.StatusError
	if errors.As(err, &se) {
		return se.Code >= 400 && se.Code < 500 && se.Code != http.StatusTooManyRequests
	}
	// Transactions give their answer as text alone.
	text := err.Error()
	return strings.Contains(text, "too large") || strings.Contains(text, "Permission denied") || strings.Contains(text, "ACL not found")
}

// untouched says whether a request that ended in err was certainly not carried out.
func untouched(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" || errors.Is(err, syscall.ECONNREFUSED) {
		return true
	}
	return strings.Contains(err.Error(), "No cluster leader")
}
