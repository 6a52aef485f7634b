package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"github.com/sluicenet/sluice/store"
)

// commit is one Commit queued for the writer.
type commit struct {
	ops  []store.Op
	rev  store.Revision
	err  error
	done chan struct{}
}

// maxGroup bounds the Commits in one write to disk.
const maxGroup = 256

// Commit applies all operations or none. If ctx ends before the result, the operations may still be
// applied. A key may occur once.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) (store.Revision, error) {
	if err := store.Check(ops); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	own := make([]store.Op, len(ops)) // the caller may reuse its memory
	for i, op := range ops {
		own[i] = op
		own[i].Value = append([]byte{}, op.Value...)
	}
	c := &commit{ops: own, done: make(chan struct{})}
	select {
	case <-s.quit:
		return 0, store.ErrClosed
	default:
	}
	select {
	case s.pending <- c:
	case <-s.quit:
		return 0, store.ErrClosed
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	select {
	case <-c.done:
		return c.rev, c.err
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-s.done:
		// The writer ended; it has answered everything it received.
		select {
		case <-c.done:
			return c.rev, c.err
		default:
			return 0, store.ErrClosed
		}
	}
}

// write is the only writer. It writes queued Commits in one transaction, notifies the watches, then answers.
func (s *Store) write(rev store.Revision) {
	defer close(s.done)
	group := make([]*commit, 0, maxGroup)
	for {
		group = group[:0]
		select {
		case c := <-s.pending:
			group = append(group, c)
		case <-s.quit:
			s.refuse()
			s.history.close()
			return
		}
	more:
		for len(group) < maxGroup {
			select {
			case c := <-s.pending:
				group = append(group, c)
			default:
				break more
			}
		}
		rev = s.writeGroup(group, rev)
	}
}

// refuse answers Commits sent while the store closed.
func (s *Store) refuse() {
	for {
		select {
		case c := <-s.pending:
			c.err = store.ErrClosed
			close(c.done)
		default:
			return
		}
	}
}

func (s *Store) writeGroup(group []*commit, rev store.Revision) store.Revision {
	events, next, err := s.transact(group, rev)
	if err != nil {
		s.log.Error("store write failed", "path", s.path, "error", err)
		for _, c := range group {
			c.rev, c.err = 0, err
			close(c.done)
		}
		return rev
	}
	s.history.add(events, next)
	for _, c := range group {
		close(c.done)
	}
	return next
}

func (s *Store) transact(group []*commit, rev store.Revision) (events []store.Event, next store.Revision, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged(s.path, fmt.Errorf("%v", p))
		}
	}()
	next = rev
	err = s.db.Update(func(tx *bbolt.Tx) error {
		objects := tx.Bucket(bucketObjects)
		for _, c := range group {
			if c.err = checkRevisions(objects, c.ops); c.err != nil {
				continue
			}
			c.rev = next
			if len(c.ops) == 0 {
				continue
			}
			next++
			c.rev = next
			for _, op := range c.ops {
				ev, changed, err := apply(objects, op, next)
				if err != nil {
					return fmt.Errorf("write %q: %w", op.Key, err)
				}
				if changed {
					events = append(events, ev)
				}
			}
		}
		if next == rev {
			return errNothing
		}
		return putRevision(tx.Bucket(bucketMeta), next)
	})
	if errors.Is(err, errNothing) {
		err = nil
	}
	return events, next, err
}

// errNothing rolls back a transaction without changes, which saves a write to disk.
var errNothing = errors.New("nothing to write")

func checkRevisions(objects *bbolt.Bucket, ops []store.Op) error {
	for _, op := range ops {
		if op.Revision == store.Any {
			continue
		}
		var have store.Revision
		if v := objects.Get([]byte(op.Key)); len(v) >= valueHeader {
			have = store.Revision(binary.BigEndian.Uint64(v))
		}
		if have != op.Revision {
			return fmt.Errorf("%q: %w", op.Key, store.ErrConflict)
		}
	}
	return nil
}

func apply(objects *bbolt.Bucket, op store.Op, rev store.Revision) (ev store.Event, changed bool, err error) {
	key := []byte(op.Key)
	ev.Object = store.Object{Key: op.Key, Revision: rev}
	if op.Delete {
		if objects.Get(key) == nil {
			return ev, false, nil
		}
		ev.Deleted = true
		return ev, true, objects.Delete(key)
	}
	ev.Object.Value = op.Value
	return ev, true, objects.Put(key, encode(key, op.Value, rev))
}
