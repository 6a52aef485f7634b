// Package controller is the part that learns, decides and shows: it takes what agents
// observe, keeps groups, rules and modes in the store, compiles them for the agents and answers
// users. It opens no sockets: its caller brings the store and the gRPC server.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/controller/server"
	"github.com/sluicenet/sluice/internal/appnames"
	"github.com/sluicenet/sluice/store"
)

// Config is what a controller needs. Only Store is required.
type Config struct {
	// Store stays the caller's, who closes it after Close.
	Store store.Store
	// StoreName is the kind and place of the store, for display ("embedded /var/lib/sluice/sluice.db").
	StoreName string
	// Version of the program, for display.
	Version string
	// Holder names this controller to others that want to lead; "" is the host's name and process id.
	Holder string
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Settings hold until the store has some; the zero value learns: new groups are in discover.
	Settings model.Settings
	// Debounce is how long changes are gathered before they are compiled; 0 is 200 ms.
	Debounce time.Duration
	// SaveEvery is how often the graph of connections is stored; 0 is 30 s. A process that is
	// killed loses counts since then; rules, groups and modes are stored at once.
	SaveEvery time.Duration
	// Journal has each report stored before it is acknowledged, so that a controller that takes over
	// knows what this one knew, however that ended. Controllers that share a store want it.
	Journal bool
	// Sole: the store is this process's own, and its agent the only one.
	Sole bool
	// Address is where others reach this controller; it is stored for them while it leads. "" stores none.
	Address string
	// Outlook is what status reports beside the controller's own.
	Outlook server.Outlook
}

// leadName is what controllers of one store lead under.
const leadName = "lead/controller"

// keyLeader is where the leader's address is stored.
const keyLeader = "leader"

// Leader is the address of the leader, or the previous leader; "" where none has stored its own.
func Leader(ctx context.Context, st store.Store) (string, error) {
	o, err := st.Get(ctx, keyLeader)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("find the leader: %w", err)
	}
	return string(o.Value), nil
}

// Controller is a running controller.
type Controller struct {
	server *server.Server
	lead   store.Leadership
	names  *appnames.Names
	log    *slog.Logger
}

// New waits until it leads, reads the store and makes a Controller. Run must be called for
// it to work.
func New(cfg Config) (*Controller, error) {
	return Open(context.Background(), cfg)
}

// Open is New with a context that ends the wait.
func Open(ctx context.Context, cfg Config) (*Controller, error) {
	if cfg.Store == nil {
		return nil, errors.New("controller: it needs a store")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Holder == "" {
		host, _ := os.Hostname()
		cfg.Holder = fmt.Sprintf("%s/%d", host, os.Getpid())
	}
	lead, err := cfg.Store.Lead(ctx, leadName, cfg.Holder)
	if err != nil {
		return nil, fmt.Errorf("lead: %w", err)
	}
	if f, ok := lead.(store.Fencer); ok {
		cfg.Store = f.Fence()
	}
	if cfg.Address != "" {
		op := store.Op{Key: keyLeader, Value: []byte(cfg.Address), Revision: store.Any}
		if _, err := cfg.Store.Commit(ctx, op); err != nil {
			return nil, errors.Join(fmt.Errorf("store the leader's address: %w", err), lead.Resign())
		}
	}
	// Before the rules are read, which may name applications of plugins.
	names := appnames.New(appnames.Config{Store: cfg.Store, Logger: cfg.Logger})
	if err := names.Load(ctx); err != nil {
		return nil, errors.Join(err, lead.Resign())
	}
	s, err := server.Open(ctx, server.Config{
		Store: cfg.Store, StoreName: cfg.StoreName, Version: cfg.Version, Logger: cfg.Logger, Now: cfg.Now,
		Settings: cfg.Settings, Debounce: cfg.Debounce, SaveEvery: cfg.SaveEvery, Journal: cfg.Journal, Sole: cfg.Sole, Outlook: cfg.Outlook,
	})
	if err != nil {
		return nil, errors.Join(err, lead.Resign())
	}
	return &Controller{server: s, lead: lead, names: names, log: cfg.Logger}, nil
}

// Register adds the Collector and Control services to a gRPC server.
func (c *Controller) Register(r grpc.ServiceRegistrar) { c.server.Register(r) }

// Status is how the controller and the agents are. It may be called from any goroutine.
func (c *Controller) Status() *controlv1.StatusResponse { return c.server.Status() }

// Unjudged returns how many frames went by without a verdict, by cause, and how many were dropped
// without one, as agents report. It may be called from any goroutine.
func (c *Controller) Unjudged() (passed, dropped map[string]uint64) { return c.server.Unjudged() }

// ErrLost reports that another controller is the leader now; this one must stop.
var ErrLost = errors.New("leadership was lost to another controller")

// Run works until ctx ends. It returns an error where the controller cannot continue.
func (c *Controller) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-c.lead.Lost():
			cancel(ErrLost)
		case <-done:
		}
	}()
	var names sync.WaitGroup
	names.Go(func() { _ = c.names.Run(ctx) })
	err := c.server.Run(ctx)
	cancel(nil)
	names.Wait()
	if errors.Is(err, store.ErrNotLeading) || errors.Is(context.Cause(ctx), ErrLost) {
		return ErrLost
	}
	return err
}

// Close ends streams, stores what is not stored yet and lets another lead. Calls to the
// services are to have ended, Run too.
func (c *Controller) Close() error {
	err := c.server.Close()
	if errors.Is(err, store.ErrNotLeading) {
		err = nil // what was acknowledged is stored, and the rest is the new leader's
	}
	return errors.Join(err, c.lead.Resign())
}
