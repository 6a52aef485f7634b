package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/hashicorp/consul/api"

	"github.com/sluicenet/sluice/store"
)

// Watch yields the changes below prefix after a revision, until ctx ends. While Consul is
// unavailable or without a leader it waits and then continues, without missing the final state.
func (s *Store) Watch(ctx context.Context, prefix string, from store.Revision) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		w := &watch{s: s, prefix: prefix, yield: yield}
		err := s.allowed(ctx)
		switch {
		case err != nil:
		case from == 0:
			err = w.snapshot(ctx)
		default:
			err = w.resume(ctx, uint64(from))
		}
		for err == nil {
			err = w.next(ctx)
		}
		if !errors.Is(err, errLeft) && ctx.Err() == nil {
			yield(store.Event{}, fmt.Errorf("watch %s: %w", prefix, err))
		}
	}
}

// allowed returns an error if keys may not be read. Without permission, lists are just empty.
func (s *Store) allowed(ctx context.Context) error {
	pause := pauses()
	for {
		err := s.doRequest(ctx, requestTime, func(ctx context.Context, c *api.Client) error {
			_, _, err := c.KV().Get(s.inner+"none", (&api.QueryOptions{AllowStale: true}).WithContext(ctx))
			return err
		})
		var no refused
		if err == nil || ctx.Err() != nil || errors.Is(err, store.ErrClosed) || errors.As(err, &no) {
			return err
		}
		if err := s.sleep(ctx, pause.Next()); err != nil {
			return err
		}
	}
}

// errLeft means that the reader of a watch has stopped.
var errLeft = errors.New("watch was stopped")

// watch is one Watch in progress. Consul returns everything below a prefix; changes are the differences from
// the previous response.
type watch struct {
	s      *Store
	prefix string
	yield  func(store.Event, error) bool
	at     uint64            // index of the previous response
	known  map[string]uint64 // the revision of each object of that response
}

func (w *watch) yieldEvent(e store.Event) error {
	if !w.yield(e, nil) {
		return errLeft
	}
	return nil
}

// read lists the objects below the prefix and retries while Consul is unavailable.
func (w *watch) read(ctx context.Context, wait uint64) (api.KVPairs, uint64, error) {
	pause := pauses()
	for {
		pairs, at, err := w.s.list(ctx, w.prefix, wait)
		var no refused
		if err == nil || ctx.Err() != nil || errors.Is(err, store.ErrClosed) || errors.As(err, &no) {
			return pairs, at, err
		}
		w.s.log.Debug("watch waits for consul", "prefix", w.prefix, "error", err)
		if err := w.s.sleep(ctx, pause.Next()); err != nil {
			return nil, 0, err
		}
	}
}

// snapshot yields what exists.
func (w *watch) snapshot(ctx context.Context) error {
	pairs, at, err := w.read(ctx, 0)
	if err != nil {
		return err
	}
	w.at, w.known = at, make(map[string]uint64, len(pairs))
	for _, p := range pairs {
		w.known[p.Key] = p.ModifyIndex
		if err := w.yieldEvent(store.Event{Object: w.s.object(p)}); err != nil {
			return err
		}
	}
	return w.yieldEvent(store.Event{Object: store.Object{Revision: store.Revision(at)}, Synced: true})
}

// resume continues from a revision. That is possible if nothing was deleted since, because deletions leave no
// trace.
func (w *watch) resume(ctx context.Context, from uint64) error {
	var newest, deleted uint64
	err := w.s.call(ctx, func(ctx context.Context, c *api.Client) error {
		p, meta, err := c.KV().Get(w.s.inner+keyDeleted, (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
		if err != nil {
			return err
		}
		if p != nil {
			deleted = p.ModifyIndex
			// The read of a missing key returns the newest index of all.
			_, meta, err = c.KV().Get(w.s.inner+"none", (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
			if err != nil {
				return err
			}
		}
		newest = meta.LastIndex
		return nil
	})
	if err != nil {
		return err
	}
	if deleted > from || newest < from {
		return store.ErrCompacted
	}
	pairs, at, err := w.read(ctx, 0)
	if err != nil {
		return err
	}
	w.at, w.known = from, make(map[string]uint64, len(pairs))
	for _, p := range pairs {
		if p.ModifyIndex <= from {
			w.known[p.Key] = p.ModifyIndex
		}
	}
	return w.differ(pairs, at)
}

// next waits for changes and yields them.
func (w *watch) next(ctx context.Context) error {
	pairs, at, err := w.read(ctx, max(w.at, 1))
	if err == nil && at < w.at {
		// From a lagging server, or tombstones were removed. A read without wait is confirmed by a majority of
		// servers.
		pairs, at, err = w.read(ctx, 0)
	}
	if err != nil {
		return err
	}
	return w.differ(pairs, at)
}

// differ yields the changes in a response. Deletions come last: their time is unknown, except that it was
// not after the response's index.
func (w *watch) differ(pairs api.KVPairs, at uint64) error {
	there := make(map[string]bool, len(pairs))
	var changed []*api.KVPair
	for _, p := range pairs {
		there[p.Key] = true
		if old := w.known[p.Key]; p.ModifyIndex > old {
			changed = append(changed, p)
		} else if p.ModifyIndex < old {
			return store.ErrCompacted // another Consul, or one restored to an older state
		}
	}
	slices.SortStableFunc(changed, func(a, b *api.KVPair) int { return cmp.Compare(a.ModifyIndex, b.ModifyIndex) })
	for _, p := range changed {
		w.known[p.Key] = p.ModifyIndex
		if err := w.yieldEvent(store.Event{Object: w.s.object(p)}); err != nil {
			return err
		}
	}
	var gone []string
	for key := range w.known {
		if !there[key] {
			gone = append(gone, key)
		}
	}
	slices.Sort(gone)
	for _, key := range gone {
		delete(w.known, key)
		o := store.Object{Key: w.s.key(key), Revision: store.Revision(at)}
		if err := w.yieldEvent(store.Event{Object: o, Deleted: true}); err != nil {
			return err
		}
	}
	w.at = at
	return nil
}
