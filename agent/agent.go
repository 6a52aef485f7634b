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

	"github.com/sluicenet/sluice/agent/hostmode"
	"github.com/sluicenet/sluice/agent/tenure"
	"github.com/sluicenet/sluice/agent/translate"
	"github.com/sluicenet/sluice/agent/uplink"
	"github.com/sluicenet/sluice/agent/wire"
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
	ready    chan struct{}
	host     *hostmode.Watcher // sockets of workloads in the host's network
	where    *translate.Resolver
	sockets  hostTraffic   // of these
	seen     atomic.Uint64 // newest policy version in the store

	// Everything below belongs to Run's goroutine.
	finder    wire.Finder
	base      *policy.Table // as the controller made it; nil before the first policy
	table     *policy.Table // base, extended to workloads that it does not list yet
	workloads map[string]*tracked
	idsMu     sync.Mutex
	ids       map[string]uint32 // endpoint numbers by workload and interface
	nextID    uint32
	unsynced  int // sources that are not synced yet
	hosted    map[string]hostmode.Workload
	leaving   []leaving
	gone      []gone
	begun     bool              // ready is closed
	notes     map[string]string // of sources, by subject
	warned    []string          // the warnings logged last
}

// tracked is one existing workload.
type tracked struct {
	workload.Workload
	endpoints map[string]*endpoint // by interface name
	mesh      wire.Mesh            // traffic redirected to a sidecar, over lo
	sockets   *role.Sockets        // as the engine has them; nil before the first reading
	open      openSockets          // connections that its sockets hold open
}

// New returns an agent, which Run runs.
func New(cfg Config) *Agent {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Agent{cfg: cfg, log: cfg.Logger, run: rand.Text(), started: time.Now(), names: newEndpointNames(), ready: make(chan struct{}), finder: wire.Finder{Processes: cfg.Processes},
		workloads: map[string]*tracked{}, ids: map[string]uint32{}, notes: map[string]string{}, unsynced: len(cfg.Sources)}
	a.host = hostmode.New(hostmode.Config{Logger: cfg.Logger})
	spool, living, services := "", "", ""
	if cfg.Data != "" {
		services = filepath.Join(cfg.Data, "services-"+fileName(cfg.Node))
		living = filepath.Join(cfg.Data, "sessions-"+fileName(cfg.Node))
	}
	if cfg.KeepReports && cfg.Data != "" {
		spool = filepath.Join(cfg.Data, "unsent-"+fileName(cfg.Node))
	}
	a.where = translate.New(translate.Config{File: services, Logger: cfg.Logger})
	a.tenure = tenure.New(tenure.Config{Node: cfg.Node, Folder: cfg.Data, Collector: cfg.Collector, Logger: cfg.Logger,
		Self: &controlv1.Owner{Run: a.run, Version: cfg.Version, Started: a.started.UnixNano()}})
	a.up = uplink.New(uplink.Config{Records: records{cfg.Engine, a}, Collector: cfg.Collector, Node: cfg.Node, Run: a.run, Workload: a.names.workload, Spool: spool, Living: living, Peer: a.peer, Server: a.server, Logger: cfg.Logger})
	a.unjudged, a.repairs = newUnjudgedWatch(a), newRepairs()
	a.kept, a.guard = newKeeper(cfg.Data, cfg.Node, cfg.Logger), &guard{log: cfg.Logger}
	a.report = newReporter(a)
	return a
}

// Ready is closed when all initially discovered workloads are attached.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

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
	sources.Go(func() { a.host.Run(ctx) })
	sources.Go(func() { a.where.Run(ctx) })
	reports.Go(func() { a.report.run(reportCtx) })
	sources.Go(func() { a.unjudged.run(ctx) })
	err := a.loop(ctx, events, tables)
	cancel()
	a.up.Leave()
	a.detachAll()
	a.unjudged.collect(time.Now())
	endReports()
	reports.Wait()
	a.where.Close()
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
	watched := a.host.Settled()
	rings, queues := repaired(a.cfg.Backend), repaired(a.cfg.Queues)
	services, pause := a.where.Changed(), (<-chan time.Time)(nil)
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-events:
			if err := a.handleEvents(e, events); err != nil {
				return err
			}
			a.adopt()
		case t := <-tables:
			a.apply(t)
		case id := <-a.cfg.Engine.Lost():
			a.lost(id)
		case <-sockets.C:
			changed := a.readSockets()
			a.dropMoved()
			if a.forget(time.Now()) {
				a.adopt()
			}
			a.names.sweep(time.Now())
			sockets.Reset(socketsEvery(len(a.workloads)))
			if !changed {
				continue
			}
		case <-rings:
			a.takeRepairs()
		case <-queues:
			a.takeRepairs()
		case <-watched:
			watched = nil
		case <-services:
			a.adopt()
			services, pause = nil, time.After(adoptServicesEvery)
		case <-pause:
			services, pause = a.where.Changed(), nil
		case <-retry.C:
		}
		if next := a.reconcile(ctx); !next.IsZero() {
			retry.Reset(time.Until(next))
		}
		a.watchTranslation()
		a.publish()
		a.unjudged.attachments(a)
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
			a.unsynced--
		case e.Kind == workload.Noted:
			a.setNote(e.About, e.Note)
		}
		select {
		case e = <-more:
		case <-time.After(time.Millisecond):
			return nil
		}
	}
}

// added handles a new or changed workload and detaches interfaces that no longer exist.
func (a *Agent) added(w workload.Workload) {
	t := a.workloads[w.ID]
	if t == nil {
		a.detachLingering(w.ID)
		t = &tracked{endpoints: map[string]*endpoint{}}
		a.workloads[w.ID] = t
		a.sweep(&w)
		a.log.Info("workload found", "workload", w.ID, "group", w.Group(), "interfaces", len(w.Interfaces))
	}
	before := t.guest()
	t.Workload = w
	a.rememberLost(t, before)
	for _, e := range t.endpoints {
		e.retry = time.Time{} // another choice may work
	}
	a.matchInterfaces(t)
	a.detectSidecar(t)
	a.readdressed(t)
}

// lost marks an endpoint as detached: reconcile attaches it again.
func (a *Agent) lost(id uint32) {
	for _, t := range a.workloads {
		for name, e := range t.endpoints {
			if e.id == id && e.at.Kind != backend.NoKind {
				a.log.Warn("interface lost", "workload", t.ID, "interface", name, "kind", e.at.Kind)
				e.at, e.planned = backend.Endpoint{}, false
			}
		}
	}
}

func (a *Agent) removed(id string) {
	t := a.workloads[id]
	if t == nil {
		return
	}
	a.detachEnded(t)
	a.remember(t)
	delete(a.workloads, id)
	a.log.Info("workload removed", "workload", id)
}

// maxEndpoint is the largest endpoint number.
const maxEndpoint = backend.MaxID

// endpointKey is the key of a workload's interface in Agent.ids.
func endpointKey(workload, iface string) string { return workload + "\x00" + iface }

// endpointID returns the number of a workload's interface, the same for the whole run of the agent.
func (a *Agent) endpointID(workload, iface string) uint32 {
	key := endpointKey(workload, iface)
	if id, ok := a.ids[key]; ok {
		return id
	}
	used := map[uint32]bool{}
	if a.nextID >= maxEndpoint { // after 8 million: search free ones
		for _, t := range a.workloads {
			for _, e := range t.endpoints {
				used[e.id] = true
			}
		}
		clear(a.ids)
		a.nextID = 0
	}
	a.nextID++
	for used[a.nextID] {
		a.nextID++
	}
	a.ids[key] = a.nextID
	return a.nextID
}
