// Package reach connects an agent to any controller that answers: it has one connection for each
// address, and switches to the next one after a call finds its controller unavailable. It does not
// retry calls; its callers do.
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

// Pool is a set of connections to controllers. It is safe for concurrent use.
type Pool struct {
	addresses []string
	conns     []*grpc.ClientConn
	at        atomic.Uint32 // index of the connection in use, counted up
	log       *slog.Logger
}

var _ grpc.ClientConnInterface = (*Pool)(nil)

// Dial connects to each address by dial.
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
	p.failover(at, err)
	return err
}

// NewStream begins a stream.
func (p *Pool) NewStream(ctx context.Context, d *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	at := p.at.Load()
	s, err := p.conns[int(at)%len(p.conns)].NewStream(ctx, d, method, opts...)
	p.failover(at, err)
	return s, err
}

// Current returns the address of the controller in use.
func (p *Pool) Current() string { return p.addresses[int(p.at.Load())%len(p.addresses)] }

// failover switches to the next controller if one is unavailable or has no leader to forward calls to.
func (p *Pool) failover(at uint32, err error) {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
	default:
		return
	}
	if p.at.CompareAndSwap(at, at+1) && len(p.conns) > 1 {
		p.log.Debug("switching to another controller", "from", p.addresses[int(at)%len(p.conns)], "error", err)
	}
}

// Close closes the connections.
func (p *Pool) Close() error {
	var errs []error
	for _, c := range p.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
