package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"

	"github.com/sluicenet/sluice/internal/vocab"
)

// serve answers on the unix socket.
func (d *daemon) serve(s *stored, socket net.Listener) {
	g := grpc.NewServer(grpc.MaxRecvMsgSize(maxAnswer), grpc.MaxSendMsgSize(maxAnswer), grpc.UnaryInterceptor(refuseChanges(s.broken)))
	s.ctl.Register(g)
	d.serveGRPC(g, socket)
}

func (d *daemon) serveGRPC(g *grpc.Server, socket net.Listener) {
	d.wg.Go(func() {
		if err := g.Serve(socket); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			d.fatal <- fmt.Errorf("service on %s ended: %w", d.flags.socket, err)
		}
	})
	d.later(g.Stop)
}

// listenHTTP opens the metrics port, which a flag names; nil if it is switched off.
func (d *daemon) listenHTTP(flag, addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := d.listenTCP(addr)
	if err != nil {
		return nil, fmt.Errorf("%w; %s \"\" switches metrics off", listenError(flag, addr, err), flag)
	}
	d.later(func() { l.Close() })
	return l, nil
}

func (d *daemon) serveHTTP(l net.Listener, o *observed) {
	s := &http.Server{Handler: o.handler(), ReadHeaderTimeout: 5 * time.Second}
	d.wg.Go(func() {
		if err := s.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			d.fatal <- fmt.Errorf("metrics on %s ended: %w", l.Addr(), err)
		}
	})
	d.later(func() { s.Close() })
}

// listenAgent opens an agent's metrics port and socket, nil for none. A default socket is done
// without where it is unavailable: another agent of this machine may have it.
func (d *daemon) listenAgent(f *agentFlags) (metrics, socket net.Listener, err error) {
	if metrics, err = d.listenHTTP("--listen", f.standaloneFlags.listen); err != nil {
		return nil, nil, err
	}
	if socket, err = d.listenSocket(); err != nil && !f.socketAsked {
		d.log.Warn("agent socket not opened, sluice status unavailable", "error", err)
		return metrics, nil, nil
	}
	return metrics, socket, err
}

// listenController opens a controller's metrics port. The default address is done without where
// something else has it.
func (d *daemon) listenController(addr string, asked bool) (net.Listener, error) {
	l, err := d.listenHTTP("--metrics", addr)
	if err != nil && !asked {
		d.log.Warn("metrics port not opened, metrics unavailable", "error", err)
		return nil, nil
	}
	return l, err
}

// defaultsWait is how long a start waits for --mode and --fail to be stored.
const defaultsWait = 10 * time.Second

// storeDefaultsNow stores the values of --mode and --fail before the first workload is attached, and
// keeps the mode that is in force. A store that is unusable, or full, is no reason to enforce nothing.
func (d *daemon) storeDefaultsNow(broken error) error {
	if broken != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), defaultsWait)
	defer cancel()
	s, err := storeDefaults(ctx, d.flags, d.log)
	switch {
	case err == nil:
		d.newGroups = vocab.Text(s.DefaultMode)
	case ctx.Err() != nil:
		d.log.Error("defaults of groups not stored", "error", err)
		return nil
	}
	return err
}

// storeDefaults stores the values of --mode and --fail as soon as a controller leads.
func (d *daemon) storeDefaults(ctx context.Context) error {
	if d.flags.mode == "" && d.flags.fail == "" {
		return nil
	}
	if _, err := storeDefaults(ctx, d.flags, d.log); err != nil && ctx.Err() == nil {
		d.log.Error("defaults of groups not stored", "error", err)
	}
	return nil
}
