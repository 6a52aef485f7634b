// Package appnames stores the numbers of plugins' applications, so that every agent and controller uses
// the same ones. A name gets one permanent, unique number. It does not handle plugins or rules; package app
// holds the names for output.
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

// Keys of the store. A name and its number are written together, and each only if it does not exist yet.
const (
	keyNames   = "app/name/"
	keyNumbers = "app/number/"
)

// Timeouts of the store.
const (
	loadTime = 5 * time.Second
	giveTime = 2 * time.Second
	rewatch  = time.Second
)

// Config configures Names. Only Store is required.
type Config struct {
	Store store.Store
	// File stores a copy, for a start while the store is unavailable; "" stores none.
	File   string
	Logger *slog.Logger
	// Give registers a name in this process; nil is app.Give.
	Give func(name string, id app.ID) error
}

// Names are the names of one store. It is safe for concurrent use.
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

// New returns Names, which are empty before Load.
func New(cfg Config) *Names {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Give == nil {
		cfg.Give = app.Give
	}
	return &Names{cfg: cfg, ids: map[string]app.ID{}}
}

// Load loads all names of the store.
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

// LoadOr is Load or, if the store does not answer soon, loads the file.
func (n *Names) LoadOr(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	err := n.Load(ctx)
	if err == nil {
		return
	}
	n.cfg.Logger.Warn("application names not read from store, using file", "error", err)
	if err := n.restore(); err != nil {
		n.cfg.Logger.Warn("application names on disk unusable", "error", err)
	}
}

// object loads one object of the store. An invalid one is skipped: its application is shown by number.
func (n *Names) object(o *store.Object) {
	var r record
	if err := json.Unmarshal(o.Value, &r); err != nil || keyNames+r.Name != o.Key {
		n.cfg.Logger.Error("application name unreadable", "key", o.Key, "error", err)
		return
	}
	if err := n.register(r.Name, r.Number); err != nil {
		n.cfg.Logger.Error("application name unusable until a restart", "error", err)
	}
}

// register registers a name in this process.
func (n *Names) register(name string, id app.ID) error {
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

// Run loads new names until ctx ends.
func (n *Names) Run(ctx context.Context) error {
	again := backoff.Backoff{First: rewatch, Last: rewatch}
	for ctx.Err() == nil {
		for e, err := range n.cfg.Store.Watch(ctx, keyNames, 0) {
			if err != nil {
				n.cfg.Logger.Warn("application names not watched, retrying", "error", err)
				break
			}
			if e.Deleted || e.Synced {
				continue // names are never deleted
			}
			n.object(&e.Object)
			if err := n.save(); err != nil {
				n.cfg.Logger.Warn("application names not written to disk", "error", err)
			}
		}
		again.Wait(ctx)
	}
	return nil
}

// ID returns the number of a name: the listed one, the store's, or a new one added to the store. If the
// store does not answer and the name is unknown, it returns an error; retry later.
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
	id, err := n.assign(ctx, name)
	if err == nil {
		err = n.register(name, id)
	}
	if err != nil {
		return app.Unknown, fmt.Errorf("number of application %s: %w", name, err)
	}
	if err := n.save(); err != nil {
		n.cfg.Logger.Warn("application names not written to disk", "error", err)
	}
	return id, nil
}

// assign returns the store's number of a name, which others may assign at the same time.
func (n *Names) assign(ctx context.Context, name string) (app.ID, error) {
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
