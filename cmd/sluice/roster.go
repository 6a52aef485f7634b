package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/store"
)

const (
	keyController = "controller/" // one object for each controller
	rosterEvery   = 3 * time.Second
	rosterWait    = 3 * time.Second
	rosterAway    = 12 * time.Second // after which a silent controller counts as away
	rosterKept    = 10 * time.Minute // after which it is forgotten
)

// entry is what a controller publishes of itself, in the store.
type entry struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Version string `json:"version"`
	Started int64  `json:"started"`
	Leading bool   `json:"leading"`
	Beat    uint64 `json:"beat"`
}

// roster knows the controllers of a store by what each writes there every few seconds. It is for display; who
// leads is decided elsewhere.
type roster struct {
	st      store.Store
	self    entry
	leading func() bool
	log     *slog.Logger

	mu   sync.Mutex // guards what follows
	seen map[string]*sighting
}

// sighting is a controller and when it was seen to write last, by the clock here.
type sighting struct {
	entry
	key      string
	revision store.Revision
	at       time.Time
}

func newRoster(st store.Store, self entry, leading func() bool, log *slog.Logger) *roster {
	return &roster{st: st, self: self, leading: leading, log: log, seen: map[string]*sighting{}}
}

// run writes and reads until ctx ends; then the own entry is taken away.
func (r *roster) run(ctx context.Context) error {
	tick := time.NewTicker(rosterEvery)
	defer tick.Stop()
	for {
		if err := r.beat(ctx); err != nil && ctx.Err() == nil {
			r.log.Debug("controller entry not stored, unknown to others", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), rosterWait/3)
			defer cancel()
			_, _ = r.st.Commit(last, store.Op{Key: r.key(), Delete: true, Revision: store.Any})
			return nil
		}
	}
}

func (r *roster) key() string { return keyController + url.PathEscape(r.self.Name) }

func (r *roster) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rosterWait)
	defer cancel()
	r.mu.Lock()
	r.self.Beat++
	r.self.Leading = r.leading()
	value, err := json.Marshal(&r.self)
	r.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = r.st.Commit(ctx, store.Op{Key: r.key(), Value: value, Revision: store.Any})
	list, _, lerr := r.st.List(ctx, keyController)
	if lerr != nil {
		return errors.Join(err, lerr)
	}
	r.update(list, time.Now())
	return errors.Join(err, r.sweep(ctx, time.Now()))
}

// update stores which controllers have written since the last time.
func (r *roster) update(list []store.Object, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	there := map[string]bool{}
	for _, o := range list {
		var e entry
		if json.Unmarshal(o.Value, &e) != nil || e.Name == "" {
			continue
		}
		there[o.Key] = true
		if s := r.seen[o.Key]; s == nil || s.revision != o.Revision {
			r.seen[o.Key] = &sighting{e, o.Key, o.Revision, now}
		}
	}
	for k := range r.seen {
		if !there[k] {
			delete(r.seen, k)
		}
	}
}

// sweep removes those that have been away for long.
func (r *roster) sweep(ctx context.Context, now time.Time) error {
	r.mu.Lock()
	var ops []store.Op
	for _, s := range r.seen {
		if now.Sub(s.at) > rosterKept && len(ops) < store.MaxOps {
			ops = append(ops, store.Op{Key: s.key, Delete: true, Revision: s.revision})
		}
	}
	r.mu.Unlock()
	if len(ops) == 0 {
		return nil
	}
	if _, err := r.st.Commit(ctx, ops...); err != nil && !errors.Is(err, store.ErrConflict) {
		return err
	}
	return nil
}

// list returns every controller, by name. This one's state is the present one.
func (r *roster) list() []*controlv1.ControllerState {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	self := &sighting{entry: r.self, key: r.key(), at: now}
	self.Leading = r.leading()
	all := []*sighting{self}
	for _, s := range r.seen {
		if s.key != self.key {
			all = append(all, s)
		}
	}
	out := make([]*controlv1.ControllerState, 0, len(all))
	for _, s := range all {
		c := &controlv1.ControllerState{Name: s.Name, Address: s.Address, Version: s.Version, Started: s.Started, LastSeen: s.at.UnixNano(), Phase: controlv1.ControllerPhase_CONTROLLER_PHASE_STANDBY}
		switch {
		case now.Sub(s.at) > rosterAway:
			c.Phase = controlv1.ControllerPhase_CONTROLLER_PHASE_AWAY
		case s.Leading && (s == self || !self.Leading):
			c.Phase = controlv1.ControllerPhase_CONTROLLER_PHASE_LEADER
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *controlv1.ControllerState) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
