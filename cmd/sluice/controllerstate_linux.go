package main

import (
	"context"
	"net"
	"os"
	"sync/atomic"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller"
	"github.com/sluicenet/sluice/controller/front"
	"github.com/sluicenet/sluice/controller/roster"
	"github.com/sluicenet/sluice/controller/server"
	"github.com/sluicenet/sluice/store"
)

// watched is the state of a controller's process, leader or standby, for its metrics and its health.
type watched struct {
	leads   atomic.Pointer[controller.Controller] // nil while it does not lead
	state   *probed
	roster  *roster.Roster
	version string
	store   string
	started int64
}

// watchControllers begins to watch the store and the controllers that share it, and serves what it finds at
// the metrics port, where there is one.
func (d *daemon) watchControllers(f *controllerFlags, st store.Store, storeName string, metrics net.Listener) *watched {
	w := &watched{state: newProbed(st, storeName), version: thisBuild().Version, store: storeName, started: time.Now().UnixNano()}
	machine, _ := os.Hostname()
	self := roster.Entry{Name: f.name, Address: f.advertise, Version: w.version, Started: w.started, Machine: machine}
	w.roster = roster.New(roster.Config{Store: st, Self: self, Leading: func() bool { return w.leads.Load() != nil }, Logger: d.log})
	d.run("store", w.state.run)
	d.run("controllers", w.roster.Run)
	d.run("defaults", d.storeDefaults)
	if metrics != nil {
		d.serveHTTP(metrics, &observed{control: w.status, store: w.state.state, controllers: w.roster.List, now: time.Now})
	}
	return w
}

// outlook returns what the leader needs for status.
func (w *watched) outlook() server.Outlook {
	return server.Outlook{Role: roleController, Store: w.state.state, Controllers: w.roster.List}
}

// status is how the controller is while it leads; nil else.
func (w *watched) status() *controlv1.StatusResponse {
	if c := w.leads.Load(); c != nil {
		return c.Status()
	}
	return nil
}

// alone returns the status of a standby controller without a leader.
func (w *watched) alone() *controlv1.StatusResponse {
	return &controlv1.StatusResponse{Version: w.version, Started: w.started, Role: roleController, Store: w.store, StoreState: w.state.state(), Controllers: w.roster.List()}
}

// lead waits until this controller leads. One whose name another controller has never does.
func (w *watched) lead(ctx context.Context, cfg controller.Config) (front.Leading, error) {
	select {
	case <-w.roster.Claimed():
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c, err := controller.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &leading{c, w}, nil
}

// leading is the leader, and is marked so while it has leadership.
type leading struct {
	*controller.Controller
	w *watched
}

// Run implements front.Leading.
func (l *leading) Run(ctx context.Context) error {
	l.w.leads.Store(l.Controller)
	defer l.w.leads.Store(nil)
	return l.Controller.Run(ctx)
}
