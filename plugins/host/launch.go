package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	goplugin "github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	parserv1 "github.com/sluicenet/sluice/api/parser/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/plugins/wire"
)

// live is one run of a plugin's process.
type live struct {
	p      *process
	client parserv1.ParserClient
	// apps maps its own numbers to those of this process; app.Unknown for a name without a number. The map is
	// immutable.
	apps     atomic.Pointer[map[app.ID]app.ID]
	nameless []protocol // those without a number; owned by number once it runs
	tcp, udp bool
	hidden   []app.ID // its own numbers of those found in datagrams that do not show in each
	names    []string
	pid      int
	addr     net.Addr   // its listener
	failed   chan error // holds the first failure
	plug     *plugin.Client
	run      atomic.Pointer[runner] // set during its start

	mu      sync.Mutex
	streams map[*stream]bool // open ones; guarded by mu
}

// protocol is a protocol of a plugin and its number there.
type protocol struct {
	name string
	own  app.ID
}

// launch starts the process and requests its protocols. The end of ctx kills it.
func (p *process) launch(ctx context.Context) (*live, error) {
	l := &live{p: p, failed: make(chan error, 1), streams: map[*stream]bool{}}
	c := &p.h.cfg
	p.out.begin()
	l.plug = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  plugin.HandshakeConfig{ProtocolVersion: wire.Format, MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue},
		Plugins:          plugin.PluginSet{wire.PluginKind: called{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		StartTimeout:     c.StartTimeout, SkipHostEnv: true,
		GRPCDialOptions:  append(windows(), grpc.WithContextDialer(l.dial)),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: p.h.folder.Name()},
		Logger:           hclog.NewNullLogger(),
		// Output on the process's own descriptors, and on those of go-plugin that replace them.
		Stderr: p.out.stream(stderrName), SyncStdout: p.out.stream(stdoutName), SyncStderr: p.out.stream(stderrName),
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, dir string) (goplugin.Runner, error) {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			r, err := newRunner(&p.spec, p.h, p.out, spec, dir)
			if err != nil {
				return nil, err
			}
			l.run.Store(r)
			p.setAccount(r.account)
			return r, nil
		},
	})
	stop := context.AfterFunc(ctx, func() {
		if r := l.run.Load(); r != nil {
			_ = r.Kill(ctx)
		}
	})
	defer stop()
	if err := p.connect(ctx, l); err != nil {
		l.kill()
		return nil, err
	}
	return l, nil
}

func (p *process) connect(ctx context.Context, l *live) error {
	var err error
	if l.addr, err = l.plug.Start(); err != nil {
		return p.startProblem(l, err)
	}
	proto, err := l.plug.Client()
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	raw, err := proto.Dispense(wire.PluginKind)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	l.client, l.pid = raw.(parserv1.ParserClient), l.run.Load().pid()
	ctx, cancel := context.WithTimeout(ctx, p.h.cfg.StartTimeout)
	defer cancel()
	d, err := l.client.Describe(ctx, &parserv1.DescribeRequest{Format: wire.Format})
	if err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	if err := l.setProtocols(ctx, d, p.h.cfg.Numbers); err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	return nil
}

// foreignWords end the last line of a go-plugin server that was built for another host.
const foreignWords = "load any plugins automatically"

// startProblem returns an error of starting, by the state of the process.
func (p *process) startProblem(l *live, err error) error {
	r := l.run.Load()
	var no refusal
	if errors.As(err, &no) {
		return no
	}
	if r == nil || r.pid() == 0 {
		switch {
		case errors.Is(err, syscall.ENOEXEC):
			err = fmt.Errorf("%w: it is no program, built for another architecture, or copied in part", syscall.ENOEXEC)
		case errors.Is(err, syscall.EACCES):
			err = fmt.Errorf("account %s may not execute it: use chmod go+rx, or a file system that is not mounted with noexec", p.status().User)
		}
		return fmt.Errorf("start: %w", err)
	}
	// go-plugin's own error is of several lines, or a timeout.
	first, _, _ := strings.Cut(err.Error(), "\n")
	_ = r.Kill(context.Background())
	<-r.done
	select {
	case <-r.read:
	case <-time.After(2 * outputGrace):
	}
	last, fatal := p.out.lastWords()
	switch {
	case strings.HasPrefix(first, "timeout "):
		err = fmt.Errorf("it is not ready after %s: a plugin's main calls sdk.Serve", p.h.cfg.StartTimeout)
	case strings.HasPrefix(first, "incompatible "):
		err = errors.New("it is built for another version of sluice: build it with the sdk of this one")
	case strings.HasSuffix(last, foreignWords):
		err = errors.New("it is a plugin of another program: build it with the sdk of this sluice")
	case r.ended == "signal: killed":
		err = errors.New(first)
	case fatal != "":
		err = fmt.Errorf("it ended before it served: %s: %s", r.ended, fatal)
	case last != "":
		err = fmt.Errorf("it ended before it served: %s: its last output was %q: a plugin's main calls sdk.Serve", r.ended, last)
	default:
		err = fmt.Errorf("it ended before it served: %s: a plugin's main calls sdk.Serve", r.ended)
	}
	return fmt.Errorf("start: %w", err)
}

// kill kills the process and frees its resources.
func (l *live) kill() {
	if r := l.run.Load(); r != nil {
		_ = r.Kill(context.Background())
	}
	l.plug.Kill()
	l.p.out.reportDropped()
}

// fail sets the reason why this run must end; the first one counts.
func (l *live) fail(err error) {
	select {
	case l.failed <- err:
	default:
	}
}

// list returns the open streams.
func (l *live) list() []*stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]*stream, 0, len(l.streams))
	for st := range l.streams {
		out = append(out, st)
	}
	return out
}

// called implements go-plugin's client side.
type called struct{ plugin.NetRPCUnsupportedPlugin }

var _ plugin.GRPCPlugin = called{}

// GRPCServer implements plugin.GRPCPlugin; the server side is in plugins/sdk.
func (called) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("the host serves nothing")
}

// GRPCClient implements plugin.GRPCPlugin.
func (called) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return parserv1.NewParserClient(c), nil
}
