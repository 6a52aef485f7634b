// Package server is a controller's state and the gRPC services over it: what agents report
// comes in (Collector), requests and changes of users are answered (Control), and each change is
// stored, compiled and put where agents watch for it. It opens no sockets and no store.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/eventlog"
	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/controller/learn"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/controller/owner"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/store"
)

// Config is how a Server works. Store is required.
type Config struct {
	Store store.Store
	// StoreName is the kind and place of the store, for display.
	StoreName string
	// Version of the program, for display.
	Version string
	Logger  *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Settings are used where the store holds none yet.
	Settings model.Settings
	// Debounce is how long changes are gathered before they are compiled; 0 is 200 ms.
	Debounce time.Duration
	// SaveEvery is how often the graph is stored; 0 is 30 s.
	SaveEvery time.Duration
	// Journal has each report stored before it is acknowledged.
	Journal bool
	// Sole: the store is this process's own, and so are its agents: those that owned names before have ended.
	Sole    bool
	Outlook Outlook
}

// Server is a controller's state. Open makes one, Run works, Close stores what is left. Its parts
// have owners: what is known and decided is the book's, what was observed is the history's, what
// is not stored yet is in the writes. The graph, the event log and the registry of owners have
// locks of their own.
type Server struct {
	cfg     Config
	st      store.Store
	log     *slog.Logger
	now     func() time.Time
	started int64
	owners  *owner.Registry // who owns the nodes' names
	closed  chan struct{}   // closed by Close
	close   sync.Once
	full    chan struct{} // the journal is to be emptied

	// change is held by whoever writes to the store, so that writes keep their order. It
	// is taken before mu.
	change sync.Mutex

	mu sync.Mutex // guards what follows
	*book
	*history
	*writes
	changed chan struct{} // closed and replaced when an agent reported something
}

// book is what is known and decided: workloads, groups, rules. The server's lock guards it.
type book struct {
	dir      *directory
	groups   map[string]*model.Group
	backends map[string]*backendChoice // by choiceKey
	since    map[string]int64          // when a group's mode was changed, ns since the epoch; since our start
	rules    *model.Rules
	settings model.Settings
	learner  *learn.Learner
}

// history is what was observed. The server's lock guards it.
type history struct {
	*book        // resolves ends
	log          *slog.Logger
	now          func() time.Time
	events       *eventlog.Log
	graph        *graph.Graph
	graphVersion uint64            // of the graph in the store
	dropped      map[string]uint64 // records that agents or we lost, by cause
	unjudged     unjudged
	crossed      crossings
	forged       forgeries
	replaying    bool    // reports of the controller before are counted; they make no events
	unsaved      bool    // the graph changed since it was stored
	journal      journal // what the store has beside the graph
}

// writes is what is to be stored, and what was compiled last. The server's lock guards it.
type writes struct {
	kicked     chan struct{} // there is something to store or compile
	dirty      map[string]store.Op
	nodesDirty map[string]bool // nodes whose workloads are to be stored
	stale      bool            // what is compiled is not what is known
	version    uint64          // of the policy compiled last
	lineage    policy.Lineage  // of the store
	unstored   error           // of the last apply; nil if it stored everything
	// unstoredSince is when changes could be stored last; valid while unstored is not nil.
	unstoredSince time.Time
	tables        map[string]*table // by node
}

// edit changes what users change. Each change is whole under the lock, and stored by the next apply.
type edit struct{ *Server }

// loader reads the server's state from the store, before the server is shared.
type loader struct{ *Server }

// table is a node's policy; its Table is made for the first Why.
type table struct {
	spec  *policy.Spec
	once  sync.Once
	table *policy.Table // valid after once
	err   error         // valid after once
}

// The two services have small types of their own; both work on the Server.
type (
	collector struct {
		controlv1.UnimplementedCollectorServer
		s *Server
	}
	control struct {
		acceptor
	}
)

// Open reads what the store holds and makes a Server of it.
func Open(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Debounce == 0 {
		cfg.Debounce = 200 * time.Millisecond
	}
	if cfg.SaveEvery == 0 {
		cfg.SaveEvery = 30 * time.Second
	}
	b := &book{dir: newDirectory(), groups: make(map[string]*model.Group), backends: make(map[string]*backendChoice), since: make(map[string]int64), settings: cfg.Settings}
	s := &Server{
		cfg: cfg, st: cfg.Store, log: cfg.Logger, now: cfg.Now, started: cfg.Now().UnixNano(), owners: owner.New(cfg.Now),
		closed: make(chan struct{}), full: make(chan struct{}, 1), changed: make(chan struct{}), book: b,
		history: &history{book: b, log: cfg.Logger, now: cfg.Now, events: eventlog.New(eventlog.Config{Now: cfg.Now}), dropped: make(map[string]uint64), unjudged: newUnjudged(), crossed: newCrossings()},
		writes:  &writes{kicked: make(chan struct{}, 1), dirty: make(map[string]store.Op), nodesDirty: make(map[string]bool), tables: make(map[string]*table), stale: true},
	}
	if err := (loader{s}).load(ctx); err != nil {
		return nil, fmt.Errorf("read the controller's state: %w", err)
	}
	s.kick()
	return s, nil
}

// Register adds the services to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	controlv1.RegisterCollectorServer(r, &collector{s: s})
	controlv1.RegisterControlServer(r, &control{acceptor{s: s}})
}

// Run stores and compiles what changes until ctx ends. One goroutine at a time may be in it.
func (s *Server) Run(ctx context.Context) error {
	log, cancel := context.WithCancel(ctx)
	var events sync.WaitGroup
	events.Go(func() { s.events.Run(log) })
	defer events.Wait()
	defer cancel()
	save := time.NewTicker(s.cfg.SaveEvery)
	defer save.Stop()
	rivals, known := time.NewTicker(rivalsEvery), map[string]bool{}
	defer rivals.Stop()
	for {
		select {
		case <-rivals.C:
			announceRivals(s, known)
		case <-ctx.Done():
			return nil
		case <-s.closed:
			return nil
		case <-s.kicked:
			if !sleep(ctx, s.cfg.Debounce) {
				return nil
			}
			if _, err := s.apply(ctx); err != nil && ctx.Err() == nil {
				if over(err) {
					return err
				}
				s.log.Error("policy not stored, trying again", "error", err)
				sleep(ctx, s.cfg.Debounce)
				s.kick()
			}
		case <-save.C:
			if err := s.saveOr(ctx); err != nil {
				return err
			}
		case <-s.full:
			if err := s.saveOr(ctx); err != nil {
				return err
			}
		}
	}
}

// over reports whether an error is one after which this controller can store nothing more.
func over(err error) bool {
	return errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrNotLeading)
}

// saveOr stores the graph; after its error the server must stop.
func (s *Server) saveOr(ctx context.Context) error {
	err := s.save(ctx)
	if err != nil && ctx.Err() == nil {
		if over(err) {
			return err
		}
		s.log.Error("graph not stored", "error", err)
	}
	return nil
}

// sleep reports whether the time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// kick wakes Run, because there is something to do.
func (s *writes) kick() {
	select {
	case s.kicked <- struct{}{}:
	default:
	}
}

// Close ends streams and stores what is not stored yet. The store stays open.
func (s *Server) Close() error {
	var err error
	s.close.Do(func() {
		close(s.closed)
		ctx, cancel := context.WithTimeout(context.Background(), storeTime)
		defer cancel()
		_, err = s.apply(ctx)
		err = errors.Join(err, s.save(ctx))
	})
	return err
}
