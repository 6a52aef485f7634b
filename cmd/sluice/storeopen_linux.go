package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluicenet/sluice/agent"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/controller/server"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/appnames"
	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/embedded"
)

// stored is an open store with the controller on it.
type stored struct {
	store store.Store
	names *appnames.Names
	state *probed
	ctl   *controller.Controller
	// broken is why the store is unusable; the one in use is then empty, and in memory. Else nil.
	broken error
}

// openStore opens the store and its controller. Where the store is unusable and the data folder has a policy
// that refuses connections, that policy is enforced rather than nothing.
func (d *daemon) openStore(mode policy.Mode) (*stored, error) {
	file := filepath.Join(d.flags.data, embedded.FileName)
	s, err := d.openStoreAt(file, "embedded "+file, mode, nil)
	if err == nil || errors.Is(err, embedded.ErrLocked) {
		return s, err
	}
	version := agent.Enforced(d.flags.data, d.flags.node)
	if version == 0 {
		return nil, err
	}
	d.log.Error("store unusable, stored policy enforced, changes refused", "policy", version, "error", err)
	memory, free, merr := embedded.MemoryFile()
	if merr != nil {
		return nil, errors.Join(err, merr)
	}
	d.later(free)
	return d.openStoreAt(memory, "none, in place of embedded "+file, mode, err)
}

// openStoreAt opens a store; broken is why it is in place of another one, nil if it is not.
func (d *daemon) openStoreAt(file, name string, mode policy.Mode, broken error) (*stored, error) {
	undo := len(d.undo)
	s, err := d.tryStore(file, name, mode, broken)
	if err != nil {
		for len(d.undo) > undo {
			last := len(d.undo) - 1
			d.undo[last]()
			d.undo = d.undo[:last]
		}
		return nil, err
	}
	d.run("store", s.state.run)
	d.run("controller", s.ctl.Run)
	return s, nil
}

func (d *daemon) tryStore(file, name string, mode policy.Mode, broken error) (*stored, error) {
	st, err := embedded.Open(file, embedded.Options{Logger: d.log, LockWait: storeLockWait})
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
	state := newProbed(st, name)
	if broken != nil {
		state = newProbed(&unusable{st, broken}, name)
	}
	ctl, err := controller.New(controller.Config{Store: st, StoreName: name, Version: thisBuild().Version, Settings: model.Settings{DefaultMode: mode}, Sole: true, Logger: d.log,
		Outlook: server.Outlook{Role: roleStandalone, Store: state.state}})
	if err != nil {
		return nil, err
	}
	d.later(func() {
		if err := ctl.Close(); err != nil {
			d.log.Warn("controller not closed cleanly", "error", err)
		}
	})
	return &stored{st, names, state, ctl, broken}, nil
}

// unusable is a store in memory, in place of one that is unusable.
type unusable struct {
	store.Store
	err error
}

var _ store.Prober = (*unusable)(nil)

// Probe returns why the store is unusable.
func (u *unusable) Probe(context.Context) (store.Health, error) { return store.Health{}, u.err }

// refuseChanges refuses the calls of users that change something; nil refuses none.
func refuseChanges(broken error) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		name, ofUsers := strings.CutPrefix(info.FullMethod, "/"+controlv1.Control_ServiceDesc.ServiceName+"/")
		if broken != nil && ofUsers && changes(name) {
			return nil, status.Error(codes.FailedPrecondition, fmt.Sprintf("nothing can be changed, the stored policy stays in force: %v; then start sluice again", broken))
		}
		return handler(ctx, req)
	}
}

// changes reports whether a call of Control changes something.
func changes(method string) bool {
	for _, reads := range []string{"List", "Get", "Status", "Why", "Observe"} {
		if strings.HasPrefix(method, reads) {
			return false
		}
	}
	return true
}
