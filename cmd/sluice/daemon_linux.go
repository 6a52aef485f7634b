package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/sluicenet/sluice/agent"
	"github.com/sluicenet/sluice/agent/workload"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/controller"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/controller/server"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/appnames"
	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/embedded"
)

// daemon is everything that runs in one process. What was opened is in undo, to be taken back in
// reverse order, whether the start failed or the program ends.
type daemon struct {
	flags *standaloneFlags
	log   *slog.Logger
	undo  []func()
	fatal chan error // a part that ended by itself
	wg    sync.WaitGroup
}

// runStandalone runs until ctx ends, which is no error.
func runStandalone(ctx context.Context, f *standaloneFlags, errs *screen) error {
	mode, err := f.check()
	if err != nil {
		return err
	}
	log, err := f.logger(errs)
	if err != nil {
		return err
	}
	if err := preflight(); err != nil {
		return err
	}
	source, err := f.source(log)
	if err != nil {
		return err
	}
	d := &daemon{flags: f, log: log, fatal: make(chan error, 8)}
	defer d.close()
	ready, err := d.start(source, mode)
	if err != nil {
		return err
	}
	select {
	case <-ready:
		f.welcome(errs, mode)
	case <-ctx.Done():
	case err := <-d.fatal:
		return err
	}
	select {
	case <-ctx.Done():
		log.Info("stopping")
		return nil
	case err := <-d.fatal:
		return err
	}
}

// later remembers how to take something back.
func (d *daemon) later(fn func()) { d.undo = append(d.undo, fn) }

func (d *daemon) close() {
	begin := time.Now()
	for i := len(d.undo) - 1; i >= 0; i-- {
		d.undo[i]()
	}
	d.wg.Wait()
	d.log.Debug("stopped", "took", time.Since(begin))
}

// run runs a part on its own goroutine; undoing it cancels and waits.
func (d *daemon) run(name string, fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := fn(ctx); err != nil && ctx.Err() == nil {
			d.fatal <- fmt.Errorf("%s ended: %w", name, err)
		}
	}()
	d.later(func() { cancel(); <-done })
}

// start opens everything from the outside in: what may be refused comes first. The channel
// is closed when the workloads are attached.
func (d *daemon) start(source workload.Source, mode policy.Mode) (ready <-chan struct{}, err error) {
	socket, err := d.listenSocket()
	if err != nil {
		return nil, err
	}
	metrics, err := d.listenHTTP("--listen", d.flags.listen)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(d.flags.data, embedded.FileName)
	st, err := embedded.Open(file, embedded.Options{Logger: d.log})
	if err != nil {
		return nil, err
	}
	d.later(func() {
		if err := st.Close(); err != nil {
			d.log.Warn("store not closed cleanly", "error", err)
		}
	})
	names := appnames.New(appnames.Config{Store: st, Logger: d.log})
	if err := names.Load(context.Background()); err != nil {
		return nil, err
	}
	parsers, err := d.flags.place.open(context.Background(), &placing{numbers: names, data: d.flags.data, log: d.log})
	if err != nil {
		return nil, err
	}
	d.later(parsers.close)
	state := newProbed(st, "embedded "+file)
	d.run("store", state.run)
	build := thisBuild().Version
	ctl, err := controller.New(controller.Config{Store: st, StoreName: "embedded " + file, Version: build, Settings: model.Settings{DefaultMode: mode}, Sole: true, Logger: d.log,
		Outlook: server.Outlook{Role: roleStandalone, Store: state.state}})
	if err != nil {
		return nil, err
	}
	d.later(func() {
		if err := ctl.Close(); err != nil {
			d.log.Warn("controller not closed cleanly", "error", err)
		}
	})
	d.run("controller", ctl.Run)
	d.serve(ctl, socket)
	conn, err := dialSocket(d.flags.socket)
	if err != nil {
		return nil, err
	}
	d.later(func() { conn.Close() })
	if err := d.storeFailNow(); err != nil {
		return nil, err
	}
	return d.startAgent(&parts{source: source, store: st, conn: conn, metrics: metrics, parsers: parsers, state: state, control: ctl.Status})
}

// portLinger lets operators change their mind without waiting for a new service port.
const portLinger = 10 * time.Second

// parts is what an agent works with beside the dataplane.
type parts struct {
	source  workload.Source
	store   store.Store              // where policy is watched
	conn    grpc.ClientConnInterface // to the controller
	metrics net.Listener             // nil for none
	parsers *placed
	keep    bool // reports that are not taken yet are kept on disk
	state   *probed
	control func() *controlv1.StatusResponse // of the controller in this process; nil for none
	address func() string                    // of the controller in use; nil in one process
	// socket is the socket of this machine's agent alone; nil where a controller answers, or no process.
	socket    net.Listener
	addresses []string // of the controllers
}

// startAgent starts the dataplane and the agent. The channel is closed when the workloads are attached.
func (d *daemon) startAgent(p *parts) (ready <-chan struct{}, err error) {
	warnings := d.flags.load.raise(d.log)
	be := afpacket.New(afpacket.Config{PortLinger: portLinger, HeartbeatLimit: d.flags.load.heartbeat})
	d.later(func() {
		if err := be.Close(); err != nil {
			d.log.Warn("packet rings not closed cleanly", "error", err)
		}
	})
	queues := nfqueue.New(nfqueue.Config{Marks: true, HeartbeatLimit: d.flags.load.heartbeat})
	d.later(func() {
		if err := queues.Close(); err != nil {
			d.log.Warn("packet queues not closed cleanly", "error", err)
		}
	})
	eng := engine.New(p.parsers.config(d.flags.open.apply(engine.Config{Logger: d.log})))
	d.later(func() {
		if err := eng.Close(); err != nil {
			d.log.Warn("engine not closed cleanly", "error", err)
		}
	})
	a := agent.New(agent.Config{Node: d.flags.node, Sources: []workload.Source{p.source}, Engine: eng, Backend: be, Queues: queues, Choice: d.flags.choice, Store: p.store,
		Collector: controlv1.NewCollectorClient(p.conn), Data: d.flags.data, KeepReports: p.keep, Version: thisBuild().Version, Processes: d.flags.processes, Logger: d.log,
		Outlook: agent.Outlook{Plugins: p.parsers.status, Warnings: func() []string { return slices.Concat(warnings, p.parsers.warnings()) }, Store: p.state.state, Controller: p.address, Parsers: d.flags.place.where}})
	d.run("agent", a.Run)
	if p.metrics != nil {
		d.serveHTTP(p.metrics, &observed{agent: a, control: p.control, store: p.state.state, now: time.Now})
	}
	if p.socket != nil {
		d.serveGRPC((&agentServer{a: a, version: thisBuild().Version, store: p.state.state, addresses: p.addresses}).server(), p.socket)
	}
	return a.Ready(), nil
}
