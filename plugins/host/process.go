package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// process is one plugin, across all runs of its process. Changed content of its file is another process.
type process struct {
	h      *Host
	spec   Plugin
	folder bool // it is a file of Config.Dir
	log    *slog.Logger
	out    *output
	live   atomic.Pointer[live] // nil while it does not run
	stop   context.CancelFunc
	first  chan error    // receives the result of the first start; holds one
	again  chan struct{} // ends the delay of the next start; holds one

	// soon is set while it starts and sessions may wait for it: not after a second failure in a row.
	soon atomic.Bool
	// tcp and udp are set if its last description has parsers for the transport.
	tcp, udp atomic.Bool
	// ran is set after its first successful start.
	ran atomic.Bool
	// leaving is set when another process has replaced it: it gets no new sessions and ends with its last one.
	leaving atomic.Bool

	items  atomic.Uint64 // received in all runs
	panics atomic.Uint64 // of its parsers and of the process
	busy   atomic.Int64  // its sessions and those waiting for it, of all workers

	mu     sync.Mutex
	stat   Status    // guarded by mu
	logged time.Time // when a parser's panic was last logged; guarded by mu
}

// State is the state of a plugin.
type State uint8

// States.
const (
	NoState    State = iota
	Starting         // for the first time
	Running          // and answering
	Restarting       // after a failure, within seconds
	Failed           // it does not start, or failed too often: retried each minute and when its file changes
	Refused          // its file's owner or permissions forbid its execution
)

// String returns the state's name.
func (s State) String() string {
	return [...]string{"", "starting", "running", "restarting", "failed", "refused"}[s]
}

// Status is the status of one plugin.
type Status struct {
	Name     string
	State    State
	Running  bool
	PID      int
	Restarts uint64
	Apps     []string // recognised applications
	Error    string   // why it is, or was last, not running
	// Last is why it last stopped or panicked, also while it runs again; "" if it never did.
	Last string
	Path string
	User string
	// Since is when this run began; zero while it does not run.
	Since time.Time
	// Items counts the received pieces of payload.
	Items uint64
	// Panics counts the panics of its parsers and of the process as a whole.
	Panics uint64
	// Away is set if sessions may be unidentified because it does not run.
	Away bool
	// Warning is the problem and what to do; "" for none.
	Warning string
}

// stable is how long a plugin must run to reset its failures.
const stable = 30 * time.Second

// newProcess prepares a process.
func (h *Host) newProcess(spec Plugin, folder bool) *process {
	log := h.cfg.Logger.With("plugin", spec.Name)
	return &process{h: h, spec: spec, folder: folder, log: log, out: newOutput(log), first: make(chan error, 1), again: make(chan struct{}, 1),
		stat: Status{State: Starting}}
}

// begin runs the process until the host closes or the process is retired.
func (p *process) begin() {
	ctx, cancel := context.WithCancel(p.h.ctx)
	p.stop = cancel
	p.soon.Store(true)
	p.h.wg.Go(func() {
		defer cancel()
		p.run(ctx)
		p.soon.Store(false)
		p.h.wake()
	})
}

// run starts the plugin repeatedly.
func (p *process) run(ctx context.Context) {
	for failures := 0; ; {
		began := time.Now()
		err := p.once(ctx)
		if ctx.Err() != nil || p.leaving.Load() || p.h.succeed(p) {
			return
		}
		if time.Since(began) >= stable {
			failures = 0
		}
		failures++
		delay := p.failure(failures, err)
		p.h.wake() // the wait of its sessions may be over
		select {
		case <-ctx.Done():
			return
		case <-p.again:
		case <-time.After(delay):
		}
		p.h.count.restarts.Add(1)
		p.updateStatus(func(s *Status) { s.Restarts++ })
	}
}

// once runs the process once, from its start to its end.
func (p *process) once(ctx context.Context) error {
	l, err := p.launch(ctx)
	if err == nil {
		p.up(l)
	} else {
		p.updateStatus(func(s *Status) { s.Error, s.Last = err.Error(), err.Error() })
	}
	select {
	case p.first <- err:
	default:
	}
	if err != nil {
		return err
	}
	life, end := context.WithCancel(ctx)
	p.h.wg.Go(func() { p.assignNumbers(life, l) })
	err = p.watch(ctx, l)
	end()
	return p.down(l, err)
}

// failure records a number of consecutive failures, and returns the delay before the next start.
func (p *process) failure(failures int, err error) time.Duration {
	c := &p.h.cfg
	state, delay := Restarting, min(c.FirstDelay<<min(failures-1, 16), c.LastDelay)
	var r refusal
	switch {
	case errors.As(err, &r):
		state, delay = Refused, c.SlowDelay
	case !p.ran.Load():
		state, delay = Failed, min(time.Second<<min(failures-1, 16), c.SlowDelay)
	case failures > c.Restarts:
		state, delay = Failed, c.SlowDelay
	}
	p.soon.Store(state == Restarting && failures <= 1)
	was := NoState
	p.updateStatus(func(s *Status) { was, s.State = s.State, state })
	switch {
	case state == Restarting:
		p.log.Warn("plugin restarts", "error", err, "delay", delay, "failures", failures)
	case was != state:
		p.h.count.failed.Add(1)
		p.log.Error("plugin does not run", "error", err, "delay", delay, "failures", failures)
	default:
		p.log.Debug("plugin does not run", "error", err, "delay", delay, "failures", failures)
	}
	return delay
}

// retry ends the delay of the next start.
func (p *process) retry() {
	select {
	case p.again <- struct{}{}:
	default:
	}
}

// retire ends the process after its sessions.
func (p *process) retire() {
	p.leaving.Store(true)
	if p.live.Load() == nil {
		p.stop()
	}
}

func (p *process) up(l *live) {
	p.updateStatus(func(s *Status) {
		s.State, s.Running, s.PID, s.Error, s.Apps, s.Since = Running, true, l.pid, "", l.names, time.Now()
	})
	p.h.count.running.Add(1)
	p.ran.Store(true)
	p.tcp.Store(l.tcp)
	p.udp.Store(l.udp)
	p.live.Store(l)
	p.log.Info("plugin runs", "pid", l.pid, "protocols", len(l.names))
	if p.folder {
		p.h.known.set(p.spec.Name, transports{l.tcp, l.udp})
		p.h.takeOver(p)
	}
	p.h.wake()
}

// down ends a run and returns why it ended.
func (p *process) down(l *live, err error) error {
	p.live.Store(nil)
	p.h.count.running.Add(^uint64(0))
	p.h.wake()
	err = p.autopsy(l, err)
	p.updateStatus(func(s *Status) {
		s.Running, s.PID, s.Error, s.Last, s.Since = false, 0, err.Error(), err.Error(), time.Time{}
	})
	l.kill()
	p.h.wake()
	return err
}

// panicLog is the minimum time between log lines about panics of parsers.
const panicLog = time.Second

// panicked counts panics that the plugin recovered from. It is safe for concurrent use.
func (p *process) panicked(n uint32, text string) {
	total := p.panics.Add(uint64(n))
	p.h.count.panics.Add(uint64(n))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stat.Last = "a parser panicked: " + text[:min(len(text), maxLine)]
	if now := time.Now(); now.Sub(p.logged) >= panicLog {
		p.logged = now
		p.log.Warn("plugin parser panicked", "error", text[:min(len(text), maxLine)], "panics", total)
	}
}

func (p *process) updateStatus(fn func(*Status)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn(&p.stat)
}

func (p *process) status() Status {
	p.mu.Lock()
	s := p.stat
	p.mu.Unlock()
	s.Name, s.Path, s.User, s.Items, s.Panics = p.spec.Name, where(p.spec.Path), cmp.Or(s.User, p.h.cfg.User), p.items.Load(), p.panics.Load()
	s.Away = !s.Running && (p.tcp.Load() || p.udp.Load())
	switch s.State {
	case Refused:
		s.Warning = "it is not started: " + s.Error
	case Failed:
		s.Warning = fmt.Sprintf("it does not run; next attempts are every %s and when its file changes: %s", p.h.cfg.SlowDelay, s.Error)
	}
	for _, x := range []*string{&s.Path, &s.Error, &s.Last, &s.Warning} {
		*x = strings.ToValidUTF8(*x, "?") // a file's name may be invalid UTF-8
	}
	return s
}

// setAccount records what the process runs as.
func (p *process) setAccount(a account) {
	if a.own {
		p.updateStatus(func(s *Status) { s.User = a.String() })
	}
}

// where returns the path of a plugin's file for operators: a link in /proc is resolved.
func where(path string) string {
	if strings.HasPrefix(path, "/proc/") {
		if to, err := os.Readlink(path); err == nil {
			return to
		}
	}
	return path
}
