// Package reach connects an agent to whichever controller answers: it has one connection for each
// address, and a call that finds its controller away sends the next one to another. It repeats no call;
// who calls does.
package reach

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Pool is connections to controllers. It may be used from any goroutine.
type Pool struct {
	addresses []string
	conns     []*grpc.ClientConn
	at        atomic.Uint32 // index of the connection in use, counted up
	log       *slog.Logger
}

var _ grpc.ClientConnInterface = (*Pool)(nil)

// Dial makes a connection to each address by dial.
func Dial(addresses []string, dial func(address string) (*grpc.ClientConn, error), log *slog.Logger) (*Pool, error) {
	p := &Pool{addresses: addresses, log: log}
	for _, a := range addresses {
		c, err := dial(a)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.conns = append(p.conns, c)
	}
	if len(p.conns) == 0 {
		return nil, errors.New("no address of a controller")
	}
	return p, nil
}

// Invoke makes a call.
func (p *Pool) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	at := p.at.Load()
	err := p.conns[int(at)%len(p.conns)].Invoke(ctx, method, args, reply, opts...)
	p.judge(at, err)
	return err
}

// NewStream begins a stream.
func (p *Pool) NewStream(ctx context.Context, d *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	at := p.at.Load()
	s, err := p.conns[int(at)%len(p.conns)].NewStream(ctx, d, method, opts...)
	p.judge(at, err)
	return s, err
}

// Current is the address of the controller that is asked next.
func (p *Pool) Current() string { return p.addresses[int(p.at.Load())%len(p.addresses)] }

// judge turns to the next controller when one is away or has no leader to pass calls on to.
func (p *Pool) judge(at uint32, err error) {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
	default:
		return
	}
	if p.at.CompareAndSwap(at, at+1) && len(p.conns) > 1 {
		p.log.Debug("turning to another controller", "from", p.addresses[int(at)%len(p.conns)], "error", err)
	}
}

// Close ends the connections.
func (p *Pool) Close() error {
	var errs []error
	for _, c := range p.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
