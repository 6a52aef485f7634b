// Package agent runs the dataplane of one node: it finds the workloads, attaches their interfaces
// as the policy's modes require, applies each new policy, and reports workloads and traffic to the
// controller. It neither makes policy nor parses packets.
package agent

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicenet/sluice/agent/tenure"
	"github.com/sluicenet/sluice/agent/translate"
	"github.com/sluicenet/sluice/agent/uplink"
	"github.com/sluicenet/sluice/agent/workload"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/store"
)

// Dataplane is the part of engine.Engine that the agent uses.
type Dataplane interface {
	Attach(ctx context.Context, be backend.Backend, ep backend.Endpoint, workload string) error
	Detach(id uint32) error
	Apply(t *policy.Table)
	SetSockets(endpoint uint32, s *role.Sockets)
	// SetHeld sets which connections are held open by sockets of an endpoint's workload.
	SetHeld(endpoint uint32, opened, known []role.Tuple)
	// Remember sets which sides of sessions are known from before a restart.
	Remember(m *role.Memory)
	// Lost receives endpoints whose attachment ended without a call of Detach.
	Lost() <-chan uint32
	Stats() engine.Stats
	uplink.Records
}

// Config is what an agent needs. Node, Sources, Engine, Backend, Store and Collector are required.
type Config struct {
	Node    string
	Sources []workload.Source
	Engine  Dataplane
	Backend backend.Backend
	// Queues attaches by netfilter queues, inside workloads; nil if unavailable.
	Queues backend.Backend
	// Choice is the backend of a workload, by its name or its namespace's; it overrides the label.
	Choice    map[string]string
	Store     store.Store // source of policy
	Collector controlv1.CollectorClient
	// Data is the folder that stores the last valid policy; "" stores none.
	Data string
	// KeepReports stores unacknowledged reports in Data, too, so that they survive a kill of the agent.
	KeepReports bool
	// Version is the version of the program, for reports.
	Version string
	// Processes extends the search for veth peers to unnamed namespaces.
	Processes bool
	// Outlook is the status of parts that the agent does not run.
	Outlook Outlook
	Logger  *slog.Logger
}

// Agent is one node's agent.
type Agent struct {
	cfg     Config
	log     *slog.Logger
	run     string
	tenure  *tenure.Tenure
	started time.Time
	up      *uplink.Uplink
	kept    *keeper
	guard   *guard
	names   *endpointNames
	report  *reporter
	// unjudged counts frames without a verdict.
	unjudged *unjudgedWatch
	repairs  *repairs // of parts that other programs changed
	where    *translations
	hosts    *hostNetwork
	seen     atomic.Uint64 // newest policy version in the store

	// Everything below belongs to Run's goroutine.
	policy   *enforcement
	attached *attachments
	begin    startup
	notices  *notices
}

// New returns an agent, which Run runs.
func New(cfg Config) *Agent {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	names := newEndpointNames()
	a := &Agent{cfg: cfg, log: cfg.Logger, run: rand.Text(), started: time.Now(), names: names, begin: newStartup(len(cfg.Sources)),
		hosts: newHostNetwork(cfg.Logger, names), notices: newNotices(cfg.Logger)}
	spool, living, services := "", "", ""
	if cfg.Data != "" {
		services = filepath.Join(cfg.Data, "services-"+fileName(cfg.Node))
		living = filepath.Join(cfg.Data, "sessions-"+fileName(cfg.Node))
	}
	if cfg.KeepReports && cfg.Data != "" {
		spool = filepath.Join(cfg.Data, "unsent-"+fileName(cfg.Node))
	}
	a.where = &translations{translate.New(translate.Config{File: services, Logger: cfg.Logger})}
	a.policy = newEnforcement(cfg, a.hosts.watcher, a.where.resolver)
	a.attached = newAttachments(cfg, a.policy, names, a.uncount)
	a.tenure = tenure.New(tenure.Config{Node: cfg.Node, Folder: cfg.Data, Collector: cfg.Collector, Logger: cfg.Logger,
		Self: &controlv1.Owner{Run: a.run, Version: cfg.Version, Started: a.started.UnixNano()}})
	a.up = uplink.New(uplink.Config{Records: records{cfg.Engine, a}, Collector: cfg.Collector, Node: cfg.Node, Run: a.run, Workload: a.names.workload, Spool: spool, Living: living, Peer: a.hosts.peer, Server: a.where.server, Logger: cfg.Logger})
	a.unjudged, a.repairs = newUnjudgedWatch(a), newRepairs(cfg, a.up, a.attached)
	a.kept, a.guard = newKeeper(cfg.Data, cfg.Node, cfg.Logger), &guard{log: cfg.Logger}
	a.report = newReporter(a)
	return a
}

// Ready is closed when all initially discovered workloads are attached.
func (a *Agent) Ready() <-chan struct{} { return a.begin.ready }

// sourceEvent is one event of a source, the last one if it has an err.
type sourceEvent struct {
	workload.Event
	err error
}

// Run runs the agent until ctx ends; then it detaches all endpoints and sends the remaining reports.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := a.tenure.Hold(ctx); err != nil {
		a.tenure.Unlock()
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer a.tenure.Unlock()
	a.up.Open()
	if m := a.up.Sides(); m != nil {
		a.cfg.Engine.Remember(m)
	}
	a.unjudged.beat.open()
	if k := a.kept.restore(); k != nil {
		a.guard.enforce(k.spec)
		a.apply(k.table)
	}
	events, tables := make(chan sourceEvent), make(chan *policy.Table)
	var sources, reports sync.WaitGroup
	for _, s := range a.cfg.Sources {
		sources.Go(func() { a.follow(ctx, s, events) })
	}
	sources.Go(func() { a.watchPolicy(ctx, tables) })
	sources.Go(func() { a.kept.run(ctx) })
	reportCtx, endReports := context.WithCancel(context.WithoutCancel(ctx))
	defer endReports()
	reports.Go(func() { a.up.Run(reportCtx) })
	sources.Go(func() { a.hosts.watcher.Run(ctx) })
	sources.Go(func() { a.where.resolver.Run(ctx) })
	reports.Go(func() { a.report.run(reportCtx) })
	sources.Go(func() { a.unjudged.run(ctx) })
	err := a.loop(ctx, events, tables)
	cancel()
	a.up.Leave()
	a.hosts.watcher.Watch(nil)
	a.attached.detachAll()
	a.unjudged.collect(time.Now())
	endReports()
	reports.Wait()
	a.where.resolver.Close()
	sources.Wait()
	a.tenure.Release(context.WithoutCancel(ctx))
	return err
}

// follow forwards the events of a source.
func (a *Agent) follow(ctx context.Context, s workload.Source, to chan<- sourceEvent) {
	for e, err := range s.Watch(ctx) {
		select {
		case to <- sourceEvent{e, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// loop is the agent's one goroutine for state.
func (a *Agent) loop(ctx context.Context, events <-chan sourceEvent, tables <-chan *policy.Table) error {
	sockets := time.NewTimer(socketsEvery(0))
	defer sockets.Stop()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	watched := a.hosts.watcher.Settled()
	rings, queues := repaired(a.cfg.Backend), repaired(a.cfg.Queues)
	services, pause := a.where.resolver.Changed(), (<-chan time.Time)(nil)
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			if err := a.handleEvents(e, events); err != nil {
				return err
			}
			a.policy.adopt(a.attached.workloads)
		case t := <-tables:
			a.apply(t)
		case id := <-a.cfg.Engine.Lost():
			a.attached.markLost(id)
		case <-sockets.C:
			changed := a.attached.readSockets()
			a.attached.dropMoved()
			if a.policy.forget(time.Now()) {
				a.policy.adopt(a.attached.workloads)
			}
			a.names.sweep(time.Now())
			sockets.Reset(socketsEvery(len(a.attached.workloads)))
			if !changed {
				continue
			}
		case <-rings:
			a.repairs.takeRepairs()
		case <-queues:
			a.repairs.takeRepairs()
		case <-watched:
			watched = nil
		case <-services:
			a.policy.adopt(a.attached.workloads)
			services, pause = nil, time.After(adoptServicesEvery)
		case <-pause:
			services, pause = a.where.resolver.Changed(), nil
		case <-retry.C:
		}
		if next := a.reconcile(ctx); !next.IsZero() {
			retry.Reset(time.Until(next))
		}
		a.where.watch(a.attached)
		a.publish()
		a.unjudged.attachments(a.attached)
	}
}

// handleEvents handles an event and those queued behind it, so that many changes are one reconciliation.
func (a *Agent) handleEvents(e sourceEvent, more <-chan sourceEvent) error {
	for {
		switch {
		case e.err != nil:
			return fmt.Errorf("find workloads: %w", e.err)
		case e.Kind == workload.Added:
			a.added(e.Workload)
		case e.Kind == workload.Removed:
			a.removed(e.Workload.ID)
		case e.Kind == workload.Synced:
			a.begin.unsynced--
		case e.Kind == workload.Noted:
			a.notices.set(e.About, e.Note)
		}
		select {
		case e = <-more:
		case <-time.After(time.Millisecond):
			return nil
		}
	}
}

// apply applies a policy. The attachments follow in reconcile: until then the engine reports what it would deny.
func (a *Agent) apply(t *policy.Table) {
	a.policy.base = t
	a.policy.adopt(a.attached.workloads)
	a.attached.retryAll() // what failed may no longer be wanted
}

// reconcile attaches every interface as the policy requires, and returns the time of the next attempt for those
// that failed; zero for none.
func (a *Agent) reconcile(ctx context.Context) time.Time {
	a.hosts.update(a.attached.workloads, a.attached.attacher.ids)
	managed := a.attached.managed()
	now := time.Now()
	next := a.attached.detachExpired(now)
	a.attached.dropAbsent()
	next = earlier(next, a.repairs.detachGone(now))
	failed := a.attached.attachAll(ctx, managed, now)
	if ctx.Err() != nil {
		return time.Time{}
	}
	return earlier(next, failed)
}

// added handles a new or changed workload and detaches interfaces that no longer exist.
func (a *Agent) added(w workload.Workload) {
	at := a.attached.attacher
	t := a.attached.workloads[w.ID]
	if t == nil {
		a.attached.detachLingering(w.ID)
		t = &tracked{endpoints: map[string]*endpoint{}}
		a.attached.workloads[w.ID] = t
		at.sweep(&w)
		a.log.Info("workload found", "workload", w.ID, "group", w.Group(), "interfaces", len(w.Interfaces))
	}
	before := t.guest()
	t.Workload = w
	a.policy.rememberLost(t, before)
	for _, e := range t.endpoints {
		e.retry = time.Time{} // another choice may work
	}
	at.matchInterfaces(t)
	at.detectSidecar(t)
	at.sources.refresh(t)
}

func (a *Agent) removed(id string) {
	t := a.attached.workloads[id]
	if t == nil {
		return
	}
	a.attached.detachEnded(t)
	a.policy.remember(t)
	delete(a.attached.workloads, id)
	a.log.Info("workload removed", "workload", id)
}
