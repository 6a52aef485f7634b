// Package specstore stores the compiled policy of each node: controllers write it, agents watch it. A Spec
// is JSON in a blob, so a reader sees either the new or the previous one. It does not compile, and keeps no
// Spec in memory.
package specstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"

	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/blob"
)

// ErrBroken means that the stored Spec of a node is corrupt: a part is missing, changed or unreadable. It
// persists until the next Write.
var ErrBroken = blob.ErrBroken

func path(node string) string { return "policy/" + url.PathEscape(node) }

// Write makes s the node's policy. Its version must be higher than that of the one
// before; the one before is deleted. Only one writer at a time writes for a node; a second
// gets store.ErrConflict.
func Write(ctx context.Context, st store.Store, node string, s *policy.Spec) error {
	data, err := json.Marshal(s)
	if err == nil {
		err = blob.Write(ctx, st, path(node), s.Version, data)
	}
	if err != nil {
		return fmt.Errorf("write policy %d of %s: %w", s.Version, node, err)
	}
	return nil
}

// Version returns the version of the node's stored policy, 0 if there is none.
func Version(ctx context.Context, st store.Store, node string) (uint64, error) {
	h, _, err := blob.ReadHead(ctx, st, path(node))
	if errors.Is(err, ErrBroken) {
		return 0, nil
	}
	return h.Version, err
}

// Clean deletes data of an interrupted writer. No Write for the node may be in progress.
func Clean(ctx context.Context, st store.Store, node string) error {
	return blob.Clean(ctx, st, path(node))
}

// Remove deletes the policy of a removed node.
func Remove(ctx context.Context, st store.Store, node string) error {
	return blob.Remove(ctx, st, path(node))
}

// Read returns the node's policy, nil if there is none.
func Read(ctx context.Context, st store.Store, node string) (*policy.Spec, error) {
	data, _, err := blob.Read(ctx, st, path(node))
	if err != nil || data == nil {
		return nil, err
	}
	return unpack(data)
}

func unpack(data []byte) (*policy.Spec, error) {
	s := new(policy.Spec)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return s, nil
}

// Watch yields the node's policy, if there is one, then each newer one, until ctx ends; a
// slow reader skips some. ErrBroken concerns one version and
// the watch continues; any other error ends it.
func Watch(ctx context.Context, st store.Store, node string) iter.Seq2[*policy.Spec, error] {
	return func(yield func(*policy.Spec, error) bool) {
		var last blob.Head
		for {
			err := follow(ctx, st, node, &last, yield)
			if errors.Is(err, errLeft) || ctx.Err() != nil {
				return
			}
			if !errors.Is(err, store.ErrCompacted) {
				yield(nil, fmt.Errorf("watch policy of %s: %w", node, err))
				return
			}
		}
	}
}

// errLeft means that the reader of a Watch has stopped.
var errLeft = errors.New("watch was stopped")

// follow watches the head until the store's watch ends. last is the head that was
// yielded last, so that
// nothing is yielded twice.
func follow(ctx context.Context, st store.Store, node string, last *blob.Head, yield func(*policy.Spec, error) bool) error {
	for e, err := range st.Watch(ctx, blob.HeadKey(path(node)), 0) {
		if err != nil {
			return err
		}
		if e.Synced || e.Deleted {
			continue
		}
		if h, err := blob.ParseHead(e.Object.Value); err == nil && h == *last {
			continue
		}
		// The newest rather than the one of the event, which may be deleted already.
		h, rev, err := blob.ReadHead(ctx, st, path(node))
		var s *policy.Spec
		if err == nil && rev != 0 && h != *last {
			s, err = readParts(ctx, st, node, h)
		}
		if errors.Is(err, ErrBroken) && superseded(ctx, st, node, rev) {
			continue // the next event follows
		}
		if err != nil && !errors.Is(err, ErrBroken) {
			return err
		}
		if s == nil && err == nil {
			continue
		}
		*last = h
		if !yield(s, err) {
			return errLeft
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return store.ErrClosed
}

// superseded reports whether the head now has another revision than rev.
func superseded(ctx context.Context, st store.Store, node string, rev store.Revision) bool {
	o, err := st.Get(ctx, blob.HeadKey(path(node)))
	return err == nil && o.Revision != rev
}

func readParts(ctx context.Context, st store.Store, node string, h blob.Head) (*policy.Spec, error) {
	data, err := blob.ReadParts(ctx, st, path(node), h)
	if err != nil {
		return nil, err
	}
	return unpack(data)
}
