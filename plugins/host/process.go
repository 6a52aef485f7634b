package host

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	goplugin "github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	parserv1 "github.com/sluicenet/sluice/api/parser/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/internal/backoff"
	"github.com/sluicenet/sluice/plugins/wire"
)

// process is one plugin, through all its lives.
type process struct {
	h     *Host
	index int
	spec  *Plugin
	log   *slog.Logger
	live  atomic.Pointer[live] // nil while it does not run

	// soon says that it is being started and that sessions may wait for it: not after a second
	// failure in a row.
	soon atomic.Bool
	// tcp and udp say for which transports it has parsers, as it said last.
	tcp, udp atomic.Bool

	items atomic.Uint64 // that it was given, in all of its lives

	mu   sync.Mutex
	stat Status // guarded by mu
}

// live is one life of a plugin.
type live struct {
	p      *process
	client parserv1.ParserClient
	// apps leads from its own numbers to those of this process; app.Unknown for a name without a number. The map is
	// not changed.
	apps     atomic.Pointer[map[app.ID]app.ID]
	nameless []protocol // those without a number; number's once it runs
	tcp, udp bool
	names    []string
	pid      int
	addr     net.Addr   // where it listens
	failed   chan error // holds the first
	plug     *plugin.Client
	run      *runnerBox
}

// protocol is a name of a plugin and the number that it has there.
type protocol struct {
	name string
	own  app.ID
}

// runnerBox is where go-plugin's call back leaves the process.
type runnerBox struct{ r *runner }

// stable is how long a plugin must run for its failures to be forgotten.
const stable = 30 * time.Second

// ErrHung is why a plugin that does not answer is killed.
var ErrHung = errors.New("it does not answer")

// ErrGarbage is why a plugin that answers nonsense is killed.
var ErrGarbage = errors.New("it answers garbage")

// run keeps the plugin running until ctx ends or it is given up. First is told how the first start went.
func (p *process) run(ctx context.Context, first chan<- error) {
	failures := 0
	again := backoff.Backoff{First: p.h.cfg.FirstDelay, Last: p.h.cfg.LastDelay}
	for {
		p.soon.Store(failures <= 1)
		began := time.Now()
		l, err := p.launch(ctx)
		if first != nil {
			first <- err
			if first = nil; err != nil {
				return
			}
		}
		if err == nil {
			p.up(l)
			life, end := context.WithCancel(ctx)
			p.h.wg.Go(func() { p.number(life, l) })
			err = p.watch(ctx, l)
			end()
			p.down(l, err)
		} else {
			p.note(func(s *Status) { s.Error, s.Last = err.Error(), err.Error() })
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) >= stable {
			failures = 0
			again.Reset()
		}
		failures++
		if failures > p.h.cfg.Restarts {
			p.giveUp(failures, err)
			return
		}
		delay := again.Next()
		p.soon.Store(failures <= 1)
		p.h.wake() // sessions that wait for it may have to stop waiting
		p.h.count.restarts.Add(1)
		p.note(func(s *Status) { s.Restarts++ })
		p.log.Warn("plugin restarts", "error", err, "delay", delay, "failures", failures)
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
	}
}

func (p *process) giveUp(failures int, err error) {
	p.soon.Store(false)
	p.h.count.givenUp.Add(1)
	p.note(func(s *Status) { s.GivenUp = true })
	p.log.Error("plugin given up: its protocols are unknown from now on", "failures", failures, "error", err)
	p.h.wake()
}

// launch starts the process and asks what it recognises.
func (p *process) launch(ctx context.Context) (*live, error) {
	l := &live{p: p, failed: make(chan error, 1), run: &runnerBox{}}
	c := &p.h.cfg
	l.plug = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  plugin.HandshakeConfig{ProtocolVersion: wire.Format, MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue},
		Plugins:          plugin.PluginSet{wire.PluginKind: called{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		StartTimeout:     c.StartTimeout, SkipHostEnv: true,
		GRPCDialOptions:  append(windows(), grpc.WithContextDialer(l.dial)),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: p.h.folder.Name()},
		Logger:           hclog.NewNullLogger(), Stderr: &lineLog{log: p.log},
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, dir string) (goplugin.Runner, error) {
			r, err := newRunner(p.spec, c, spec, dir)
			if err != nil {
				return nil, err
			}
			l.run.r = r
			return r, nil
		},
	})
	if err := p.connect(ctx, l); err != nil {
		l.kill()
		return nil, err
	}
	return l, nil
}

func (p *process) connect(ctx context.Context, l *live) error {
	var err error
	if l.addr, err = l.plug.Start(); err != nil {
		return p.problem("start", err)
	}
	proto, err := l.plug.Client()
	if err != nil {
		return p.problem("start", err)
	}
	raw, err := proto.Dispense(wire.PluginKind)
	if err != nil {
		return p.problem("start", err)
	}
	l.client, l.pid = raw.(parserv1.ParserClient), l.run.r.pid()
	ctx, cancel := context.WithTimeout(ctx, p.h.cfg.StartTimeout)
	defer cancel()
	d, err := l.client.Describe(ctx, &parserv1.DescribeRequest{Format: wire.Format})
	if err != nil {
		return p.problem("describe", err)
	}
	if err := l.learn(ctx, d, p.h.cfg.Numbers); err != nil {
		return p.problem("describe", err)
	}
	return nil
}

// kill ends the process, at once, and frees what belonged to it.
func (l *live) kill() {
	if l.run.r != nil {
		_ = l.run.r.Kill(context.Background())
	}
	l.plug.Kill()
}

// fail says why this life must end; the first reason counts.
func (l *live) fail(err error) {
	select {
	case l.failed <- err:
	default:
	}
}

func (p *process) up(l *live) {
	p.note(func(s *Status) { s.Running, s.PID, s.Error, s.Apps, s.Since = true, l.pid, "", l.names, time.Now() })
	p.h.count.running.Add(1)
	p.tcp.Store(l.tcp)
	p.udp.Store(l.udp)
	p.live.Store(l)
	p.log.Info("plugin runs", "pid", l.pid, "protocols", len(l.names))
	p.h.wake()
}

func (p *process) down(l *live, err error) {
	p.live.Store(nil)
	p.h.count.running.Add(^uint64(0))
	text := ""
	if err != nil {
		text = err.Error()
	}
	p.note(func(s *Status) { s.Running, s.PID, s.Error, s.Last, s.Since = false, 0, text, text, time.Time{} })
	l.kill()
	p.h.wake()
}

// watch waits for a reason to end the process.
func (p *process) watch(ctx context.Context, l *live) error {
	tick := time.NewTicker(p.h.cfg.Deadline / 8)
	defer tick.Stop()
	pings := pinger{l: l, deadline: p.h.cfg.Deadline, done: make(chan error, 1)}
	defer pings.stop()
	marks := map[*stream]mark{}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-l.failed:
			if errors.Is(err, ErrGarbage) {
				p.h.count.garbage.Add(1)
			}
			return err
		case err := <-pings.done:
			if pings.busy = false; err != nil {
				return p.silent(err)
			}
		case now := <-tick.C:
			if l.plug.Exited() {
				return errors.New("it has ended")
			}
			pings.next(ctx, now)
			if stuck(p.h.streams(l), marks, now, p.h.cfg.Deadline) {
				return p.silent(ErrHung)
			}
		}
	}
}

// silent is the end of a plugin that does not answer.
func (p *process) silent(err error) error {
	if !errors.Is(err, ErrHung) && status.Code(err) != codes.DeadlineExceeded {
		return err
	}
	p.h.count.hung.Add(1)
	return errors.Join(ErrHung, err)
}

// mark is where a stream was when it last moved.
type mark struct {
	done uint64
	at   time.Time
}

// stuck says whether a stream has waited for an answer for longer than the deadline.
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

func (p *process) note(fn func(*Status)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn(&p.stat)
}

func (p *process) status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stat
	s.Name, s.Path, s.User, s.Items = p.spec.Name, where(p.spec.Path), p.h.cfg.User, p.items.Load()
	return s
}

// called is the plugin as go-plugin dispenses it.
type called struct{ plugin.NetRPCUnsupportedPlugin }

var _ plugin.GRPCPlugin = called{}

// GRPCServer implements plugin.GRPCPlugin; the server's side is plugins/sdk's.
func (called) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("the host serves nothing")
}

// GRPCClient implements plugin.GRPCPlugin.
func (called) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return parserv1.NewParserClient(c), nil
}

// where is the path that people know a plugin's file by: a link in /proc says little.
func where(path string) string {
	if strings.HasPrefix(path, "/proc/") {
		if to, err := os.Readlink(path); err == nil {
			return to
		}
	}
	return path
}
