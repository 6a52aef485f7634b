// Package front has the listeners of a controller, leader or standby: the same ones answer
// in both roles. The leader answers calls itself; a standby passes every call to it.
// It also decides who may call what. It stores nothing and interprets no call.
package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/backoff"
)

// Leading is the leader.
type Leading interface {
	Register(grpc.ServiceRegistrar)
	// Run works until ctx ends or the controller cannot continue.
	Run(ctx context.Context) error
	Close() error
}

// Door is one listener. A client without TLS is an operator of this machine: the listener's own
// permissions are the check.
type Door struct {
	Listener net.Listener
	// Creds are those of the listener; nil for none.
	Creds credentials.TransportCredentials
}

// Config is what a Front needs; all but Logger are required.
type Config struct {
	Doors []Door
	// Lead waits until this controller leads.
	Lead func(ctx context.Context) (Leading, error)
	// Lost reports whether an error of Leading.Run means that another controller is the leader now.
	Lost func(error) bool
	// Leader is the leader's address, "" where there is none.
	Leader func(ctx context.Context) (string, error)
	// Dial makes a connection to another controller.
	Dial func(address string) (*grpc.ClientConn, error)
	// MaxMessage bounds messages, bytes.
	MaxMessage int
	// Alone is the answer to Control.Status without a leader; nil for an error.
	Alone  func() *controlv1.StatusResponse
	Logger *slog.Logger
}

// again is how long to wait before trying to lead after that went wrong.
const again = time.Second

// logEvery is how long the same error is not logged again.
const logEvery = 30 * time.Second

// Front answers calls.
type Front struct {
	cfg   Config
	log   *slog.Logger
	ports []*port
	proxy *proxy
}

// connectionAge is how long a connection is used: renewed certificates are used by the next
// one. Calls in progress continue.
const connectionAge = 5 * time.Minute

// New makes a Front; Run does the work.
func New(cfg Config) *Front {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Front{cfg: cfg, log: cfg.Logger, proxy: newProxy(&cfg)}
	for _, d := range cfg.Doors {
		f.ports = append(f.ports, newPort(d.Listener))
	}
	return f
}

// Run answers until ctx ends: as standby, then as leader, then as standby again if leadership is lost.
func (f *Front) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer f.proxy.close()
	ended := make(chan error, len(f.ports))
	for _, p := range f.ports {
		wg.Go(func() { ended <- p.accept() })
		defer p.close()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	wg.Go(func() {
		select {
		case err := <-ended:
			cancel(fmt.Errorf("listen: %w", err))
		case <-ctx.Done():
		}
	})
	for {
		err := f.turn(ctx)
		if ctx.Err() != nil {
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				return cause
			}
			return err
		}
		if err != nil {
			return err
		}
	}
}

// turn is one change from standby to leader and, when leadership is lost, back. Without an error
// another turn follows.
func (f *Front) turn(ctx context.Context) error {
	stop := f.serve(func(*grpc.Server) {}, grpc.UnknownServiceHandler(f.proxy.pass), grpc.ForceServerCodecV2(raw{}))
	f.log.Info("standby")
	l, err := f.lead(ctx)
	stop()
	if err != nil || l == nil {
		return err
	}
	f.log.Info("leading")
	stop = f.serve(func(g *grpc.Server) { l.Register(g) })
	err = l.Run(ctx)
	stop()
	cerr := l.Close()
	if err != nil && f.cfg.Lost(err) {
		f.log.Warn("leadership lost, continuing as standby")
		return nil
	}
	return errors.Join(err, cerr)
}

// lead waits until this controller is the leader; nil when ctx ended first.
func (f *Front) lead(ctx context.Context) (Leading, error) {
	logged, when := "", time.Time{}
	wait := backoff.Backoff{First: again, Last: again}
	for {
		l, err := f.cfg.Lead(ctx)
		if err == nil {
			return l, nil
		}
		if ctx.Err() != nil {
			return nil, nil
		}
		if text := err.Error(); text != logged || time.Since(when) > logEvery {
			logged, when = text, time.Now()
			f.log.Error("leadership unavailable, trying again", "error", err)
		}
		if !wait.Wait(ctx) {
			return nil, nil
		}
	}
}

// serve answers on every listener until stop is called.
func (f *Front) serve(register func(*grpc.Server), more ...grpc.ServerOption) (stop func()) {
	var stops []func()
	for i, p := range f.ports {
		opts := append([]grpc.ServerOption{grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: connectionAge}), grpc.MaxRecvMsgSize(f.cfg.MaxMessage), grpc.MaxSendMsgSize(f.cfg.MaxMessage),
			grpc.UnaryInterceptor(unary), grpc.StreamInterceptor(stream)}, more...)
		if c := f.cfg.Doors[i].Creds; c != nil {
			opts = append(opts, grpc.Creds(c))
		}
		g := grpc.NewServer(opts...)
		register(g)
		l := p.open()
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := g.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				f.log.Error("service ended", "error", err)
			}
		}()
		stops = append(stops, func() { g.Stop(); <-done })
	}
	return func() {
		for _, s := range stops {
			s()
		}
	}
}
