// Package roster knows the controllers that share a store by what each of them writes there
// every few seconds, and keeps their names apart: a second controller with a name is refused
// while the first one lives. Which of them is the leader is decided elsewhere.
package roster

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/store"
)

// Keys of the store.
const (
	keyController = "controller/"       // one object for each controller
	keyRival      = "controller-rival/" // one for each run that was refused a name
)

// Times of a Roster.
const (
	// Every is how often a controller writes.
	Every = 3 * time.Second
	// Claim is how long a name is watched that another run has: one that has not written for so
	// long has ended, however it did.
	Claim = 2*Every + time.Second
	// Away is when a controller counts as away that no longer writes.
	Away = 12 * time.Second
	// Kept is when it is forgotten, and a rival too.
	Kept = 10 * time.Minute

	wait = 3 * time.Second // for one exchange with the store
)

// ErrTaken is returned by Run where another controller has the name.
var ErrTaken = errors.New("the name is in use")

// Entry is what a controller writes of itself.
type Entry struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Version string `json:"version"`
	Started int64  `json:"started"` // ns since the epoch
	Leading bool   `json:"leading"`
	Run     string `json:"run,omitempty"`
	Machine string `json:"machine,omitempty"`
	Beat    uint64 `json:"beat"`
}

// Config is what a Roster needs; Store, Self.Name and Leading are required.
type Config struct {
	Store store.Store
	Self  Entry
	// Leading reports whether this controller is the leader.
	Leading func() bool
	Logger  *slog.Logger
	// Every and Claim are for tests; 0 is the constants.
	Every, Claim time.Duration
}

// Roster is one controller's view of those that share its store.
type Roster struct {
	cfg     Config
	log     *slog.Logger
	claimed chan struct{} // closed when the name is this run's
	last    store.Revision

	mu     sync.Mutex // guards what follows
	self   Entry
	seen   map[string]*sighting
	rivals map[string]*rival // by key
}

// sighting is a controller and when it was seen to write last, by the clock here.
type sighting struct {
	Entry
	key      string
	revision store.Revision
	at       time.Time
}

// rival is a run that was refused this controller's name.
type rival struct {
	Entry
	At int64 `json:"at"` // ns since the epoch
}

// New makes a Roster; Run does the work.
func New(cfg Config) *Roster {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Every, cfg.Claim = cmp.Or(cfg.Every, Every), cmp.Or(cfg.Claim, Claim)
	r := &Roster{cfg: cfg, log: cfg.Logger, claimed: make(chan struct{}), self: cfg.Self, seen: map[string]*sighting{}, rivals: map[string]*rival{}}
	r.self.Run = rand.Text()
	return r
}

// Claimed is closed when the name is this run's: a controller that wants to lead waits for it.
func (r *Roster) Claimed() <-chan struct{} { return r.claimed }

// Run claims the name, then writes and reads until ctx ends; then it takes its entry away. It
// returns ErrTaken where another controller has the name, or has taken it since.
func (r *Roster) Run(ctx context.Context) error {
	if err := r.claim(ctx); err != nil {
		if errors.Is(err, ErrTaken) {
			r.leaveRival(ctx)
		}
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	close(r.claimed)
	tick := time.NewTicker(r.cfg.Every)
	defer tick.Stop()
	for {
		if err := r.beat(ctx); errors.Is(err, ErrTaken) {
			return err
		} else if err != nil && ctx.Err() == nil {
			r.log.Debug("roster not written", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.resign(ctx)
			return nil
		}
	}
}

func (r *Roster) key() string { return keyController + url.PathEscape(r.cfg.Self.Name) }

// claim waits until the name is free or its owner has stopped writing. The store may be away
// meanwhile. It returns nil when ctx ends.
//
// An owner that was killed may be seen to write once: a store of several servers can apply what it
// last sent when it has a leader again. One that lives writes twice.
func (r *Roster) claim(ctx context.Context) error {
	var watched store.Revision // of the other run's entry
	var since time.Time
	written := false // since it is watched
	said := ""
	for ; ctx.Err() == nil; pause(ctx, r.cfg.Every/2) {
		o, e, err := r.read(ctx)
		switch {
		case err != nil && !errors.Is(err, store.ErrNotFound):
			if text := err.Error(); text != said && ctx.Err() == nil {
				said = text
				r.log.Error("controller name not claimed, trying again", "error", err)
			}
			continue
		case err == nil && e.Run == r.self.Run:
			r.last = o.Revision // written by a claim whose answer was lost
			return nil
		case err == nil && o.Revision != watched:
			if written {
				return r.taken(e)
			}
			written = watched != 0
			watched, since = o.Revision, time.Now()
			if written {
				continue
			}
			r.log.Info("controller name has an entry, watching whether its owner lives", "name", e.Name, "address", e.Address)
			continue
		case err == nil && time.Since(since) < r.cfg.Claim:
			continue
		}
		if err := r.write(ctx, o.Revision); err == nil {
			return nil
		}
	}
	return nil
}

// taken is the error where another run has the name.
func (r *Roster) taken(e *Entry) error {
	return fmt.Errorf("another controller is called %s: it runs on %s at %s since %s: give this one another --name and certificate: %w",
		e.Name, cmp.Or(e.Machine, "an unknown machine"), e.Address, time.Unix(0, e.Started).UTC().Format(time.RFC3339), ErrTaken)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// read reads who has the name.
func (r *Roster) read(ctx context.Context) (o store.Object, e *Entry, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if o, err = r.cfg.Store.Get(ctx, r.key()); err != nil {
		return store.Object{}, nil, err
	}
	e = new(Entry)
	if json.Unmarshal(o.Value, e) != nil {
		e.Name = r.cfg.Self.Name
	}
	return o, e, nil
}

// write writes this controller's entry in the place of one of a revision, 0 for none.
func (r *Roster) write(ctx context.Context, revision store.Revision) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	r.mu.Lock()
	r.self.Beat++
	r.self.Leading = r.cfg.Leading()
	value, err := json.Marshal(&r.self)
	r.mu.Unlock()
	if err != nil {
		return err
	}
	rev, err := r.cfg.Store.Commit(ctx, store.Op{Key: r.key(), Value: value, Revision: revision})
	if err == nil {
		r.last = rev
	}
	return err
}

// beat writes, and reads what the others wrote.
func (r *Roster) beat(ctx context.Context) error {
	err := r.write(ctx, r.last)
	if errors.Is(err, store.ErrConflict) {
		err = r.settleConflict(ctx)
	}
	if errors.Is(err, ErrTaken) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	list, _, lerr := r.cfg.Store.List(ctx, keyController)
	rivals, _, rerr := r.cfg.Store.List(ctx, keyRival)
	if lerr != nil || rerr != nil {
		return errors.Join(err, lerr, rerr)
	}
	now := time.Now()
	r.sightAll(list, now)
	r.sightRivals(rivals, now)
	return errors.Join(err, r.sweep(ctx, now))
}

// settleConflict finds out what was written instead: an entry of this run, whose answer was lost, one
// that is gone, or one of another run, which has the name then.
func (r *Roster) settleConflict(ctx context.Context) error {
	o, e, err := r.read(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound):
		r.last = 0
		return nil
	case err != nil:
		return err
	case e.Run == r.self.Run:
		r.last = o.Revision
		return nil
	}
	return r.taken(e)
}

// sightAll notes who has written since the last time.
func (r *Roster) sightAll(list []store.Object, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	there := map[string]bool{}
	for _, o := range list {
		var e Entry
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

// sightRivals notes and logs who was refused a name lately.
func (r *Roster) sightRivals(list []store.Object, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	there := map[string]*rival{}
	for _, o := range list {
		x := new(rival)
		if json.Unmarshal(o.Value, x) != nil || x.Name == "" || now.Sub(time.Unix(0, x.At)) > Kept {
			continue
		}
		if there[o.Key] = x; r.rivals[o.Key] == nil && x.Name == r.self.Name {
			r.log.Warn("another controller was refused this one's name: give it another --name and certificate", "name", x.Name, "machine", x.Machine, "address", x.Address)
		}
	}
	r.rivals = there
}

// leaveRival writes that this run was refused, for the owner of the name to report.
func (r *Roster) leaveRival(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
	defer cancel()
	value, err := json.Marshal(&rival{r.self, time.Now().UnixNano()})
	if err == nil {
		_, err = r.cfg.Store.Commit(ctx, store.Op{Key: keyRival + url.PathEscape(r.self.Name) + "/" + r.self.Run, Value: value, Revision: store.Any})
	}
	if err != nil {
		r.log.Warn("refusal not reported to the owner of the name", "error", err)
	}
}

// sweep forgets those that have been away for long.
func (r *Roster) sweep(ctx context.Context, now time.Time) error {
	r.mu.Lock()
	var ops []store.Op
	for _, s := range r.seen {
		if now.Sub(s.at) > Kept && len(ops) < store.MaxOps {
			ops = append(ops, store.Op{Key: s.key, Delete: true, Revision: s.revision})
		}
	}
	r.mu.Unlock()
	if len(ops) == 0 {
		return nil
	}
	if _, err := r.cfg.Store.Commit(ctx, ops...); err != nil && !errors.Is(err, store.ErrConflict) {
		return err
	}
	return nil
}

// resign takes this controller's entry away.
func (r *Roster) resign(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait/3)
	defer cancel()
	// The last write may have been cut short, its answer lost.
	for range 2 {
		_, err := r.cfg.Store.Commit(ctx, store.Op{Key: r.key(), Delete: true, Revision: r.last})
		if !errors.Is(err, store.ErrConflict) || r.settleConflict(ctx) != nil {
			return
		}
	}
}

// List returns every controller, by name, with the runs that were refused its name. What it has
// of this one is as of now.
func (r *Roster) List() []*controlv1.ControllerState {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	self := &sighting{Entry: r.self, key: r.key(), at: now}
	self.Leading = r.cfg.Leading()
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
		case now.Sub(s.at) > Away:
			c.Phase = controlv1.ControllerPhase_CONTROLLER_PHASE_AWAY
		case s.Leading && (s == self || !self.Leading):
			c.Phase = controlv1.ControllerPhase_CONTROLLER_PHASE_LEADER
		}
		for _, x := range r.rivals {
			if x.Name == s.Name && x.Run != s.Run {
				c.Rivals = append(c.Rivals, &controlv1.Owner{Run: x.Run, Machine: x.Machine, Address: x.Address, Version: x.Version, Started: x.Started, Until: x.At})
			}
		}
		slices.SortFunc(c.Rivals, func(a, b *controlv1.Owner) int { return cmp.Compare(a.Until, b.Until) })
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b *controlv1.ControllerState) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
