// Package appnames keeps the numbers of the applications that plugins name, in the store, so that every
// agent and controller means the same by one. A name gets its number once and for good, and no
// two names get the same. It knows neither plugins nor rules; package app holds what it finds for
// everything that prints.
package appnames

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/internal/backoff"
	"github.com/sluicenet/sluice/store"
)

// Keys of the store. A name and its number are written together, and each of them only where it does not exist yet.
const (
	keyNames   = "app/name/"
	keyNumbers = "app/number/"
)

// Times of asking the store.
const (
	loadTime = 5 * time.Second
	giveTime = 2 * time.Second
	rewatch  = time.Second
)

// Config is what Names need. Only Store is required.
type Config struct {
	Store store.Store
	// File keeps a copy, for a start while the store is away; "" keeps none.
	File   string
	Logger *slog.Logger
	// Give makes a name known to this process; nil is app.Give.
	Give func(name string, id app.ID) error
}

// Names are the names of one store. Its methods may be called from any goroutine.
type Names struct {
	cfg Config
	mu  sync.Mutex
	ids map[string]app.ID // known to this process; guarded by mu
}

// record is a value of the store.
type record struct {
	Name   string `json:"name"`
	Number app.ID `json:"number"`
}

// New makes Names, which know nothing before Load.
func New(cfg Config) *Names {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Give == nil {
		cfg.Give = app.Give
	}
	return &Names{cfg: cfg, ids: map[string]app.ID{}}
}

// Load takes in every name that the store has.
func (n *Names) Load(ctx context.Context) error {
	list, _, err := n.cfg.Store.List(ctx, keyNames)
	if err != nil {
		return fmt.Errorf("names of applications: %w", err)
	}
	for i := range list {
		n.object(&list[i])
	}
	return n.save()
}

// LoadOr is Load, or where the store does not answer soon, what the file has.
func (n *Names) LoadOr(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	err := n.Load(ctx)
	if err == nil {
		return
	}
	n.cfg.Logger.Warn("names of applications not read from the store, using those on disk", "error", err)
	if err := n.restore(); err != nil {
		n.cfg.Logger.Warn("names of applications on disk not usable", "error", err)
	}
}

// object takes one object of the store in. One that does not fit is no reason to stop: its
// application is shown by its number.
func (n *Names) object(o *store.Object) {
	var r record
	if err := json.Unmarshal(o.Value, &r); err != nil || keyNames+r.Name != o.Key {
		n.cfg.Logger.Error("name of an application not readable", "key", o.Key, "error", err)
		return
	}
	if err := n.take(r.Name, r.Number); err != nil {
		n.cfg.Logger.Error("name of an application not usable before a restart", "error", err)
	}
}

// take makes a name known to this process.
func (n *Names) take(name string, id app.ID) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if was, ok := n.ids[name]; ok && was == id {
		return nil
	}
	if err := n.cfg.Give(name, id); err != nil {
		return err
	}
	n.ids[name] = id
	return nil
}

// Run takes in the names that come later, until ctx ends.
func (n *Names) Run(ctx context.Context) error {
	again := backoff.Backoff{First: rewatch, Last: rewatch}
	for ctx.Err() == nil {
		for e, err := range n.cfg.Store.Watch(ctx, keyNames, 0) {
			if err != nil {
				n.cfg.Logger.Warn("names of applications not watched, trying again", "error", err)
				break
			}
			if e.Deleted || e.Synced {
				continue // nobody deletes one; what is known stays so
			}
			n.object(&e.Object)
			if err := n.save(); err != nil {
				n.cfg.Logger.Warn("names of applications not kept on disk", "error", err)
			}
		}
		again.Wait(ctx)
	}
	return nil
}

// ID is the number of a name: the listed one, the store's, or a new one that the store has from now on. Where
// the store
// does not answer and the name is not known, there is none; ask again later.
func (n *Names) ID(ctx context.Context, name string) (app.ID, error) {
	if err := app.CheckName(name); err != nil {
		return app.Unknown, err
	}
	n.mu.Lock()
	id, ok := n.ids[name]
	n.mu.Unlock()
	if ok {
		return id, nil
	}
	if id, err := app.Parse(name); err == nil {
		return id, nil
	}
	ctx, cancel := context.WithTimeout(ctx, giveTime)
	defer cancel()
	id, err := n.register(ctx, name)
	if err == nil {
		err = n.take(name, id)
	}
	if err != nil {
		return app.Unknown, fmt.Errorf("number of application %s: %w", name, err)
	}
	if err := n.save(); err != nil {
		n.cfg.Logger.Warn("names of applications not kept on disk", "error", err)
	}
	return id, nil
}

// register is the store's number of a name, which others may be giving at the same time.
func (n *Names) register(ctx context.Context, name string) (app.ID, error) {
	for attempt := range app.LastPlugin - app.FirstPlugin {
		o, err := n.cfg.Store.Get(ctx, keyNames+name)
		if err == nil {
			var r record
			if err := json.Unmarshal(o.Value, &r); err != nil {
				return app.Unknown, fmt.Errorf("%s: %w", o.Key, err)
			}
			return r.Number, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return app.Unknown, err
		}
		id := app.Suggest(name, int(attempt))
		value, err := json.Marshal(record{name, id})
		if err != nil {
			return app.Unknown, err
		}
		_, err = n.cfg.Store.Commit(ctx, store.Op{Key: keyNames + name, Value: value}, store.Op{Key: keyNumbers + strconv.Itoa(int(id)), Value: value})
		if err == nil {
			n.cfg.Logger.Info("application numbered", "name", name, "number", uint16(id))
			return id, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return app.Unknown, err
		}
	}
	return app.Unknown, errors.New("no number is free")
}
