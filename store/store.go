// Package store is the contract of the place where controllers keep groups, rules,
// modes and compiled policy, and from which agents watch it. Two implementations
// pass one suite (storetest): embedded for one machine, Consul for many.
package store

import (
	"context"
	"errors"
	"iter"
)

// Revision orders changes. It counts up over the whole store; 0 is before the first.
type Revision uint64

// Any as an Op's Revision asks for no check.
const Any = ^Revision(0)

// MaxValue is the largest value, bytes.
const MaxValue = 512 << 10

// MaxOps is how many operations one Commit may hold.
const MaxOps = 64

// Object is one key and its value. Keys are paths without a leading slash
// ("group/svc:default/web").
type Object struct {
	Key      string
	Value    []byte
	Revision Revision // of its last change
}

// Op is one operation of a Commit.
type Op struct {
	Key   string
	Value []byte
	// Delete removes the key; Value is not used.
	Delete bool
	// Revision the object must have: 0 for one that must not exist, Any for no check.
	Revision Revision
}

// Event is one change of one key. Object.Value is nil where Deleted.
type Event struct {
	Object  Object
	Deleted bool
	// Synced marks the end of what existed when the watch began; Object is empty then, but
	// for Revision, which is that of the snapshot.
	Synced bool
}

// Leadership is held until Lost is closed or Resign is called.
type Leadership interface {
	Lost() <-chan struct{}
	Resign() error
}

// Fencer is what the Leadership of a store may be that several processes use. What is
// committed through Fence is done only while the leadership is held, else it is ErrNotLeading: one
// that was away and does not know yet that another leads changes nothing. Such a Commit holds MaxCommit bytes
// at most, of one operation too; more is ErrTooLarge.
type Fencer interface {
	Fence() Store
}

// Health is how a store is.
type Health struct {
	// Revision is that of the last change, as far as is known; it only counts up.
	Revision Revision
	// Leader is which of the store's own servers leads; "" where it has none.
	Leader string
}

// Prober is a Store that can tell how it is. An error says that it does not answer now; it is not
// tried again until ctx ends.
type Prober interface {
	Probe(ctx context.Context) (Health, error)
}

// Store keeps objects. All methods may be called from any goroutine.
type Store interface {
	// Get is one object; ErrNotFound if there is none.
	Get(ctx context.Context, key string) (Object, error)
	// List is every object whose key begins with prefix, by key, and the revision they
	// were read at.
	List(ctx context.Context, prefix string) ([]Object, Revision, error)
	// Commit does all of the operations or none, and says the revision they got. A
	// check that does not hold is ErrConflict. What Check refuses, it refuses. After any other
	// error it is unknown whether the operations were done.
	Commit(ctx context.Context, ops ...Op) (Revision, error)
	// Watch yields the changes below prefix after a revision, in order, until ctx ends. From 0
	// it yields what exists, then Synced, then changes. Changes of one key that follow each
	// other quickly may come as one, the last. A watch that cannot go on from a revision (too
	// old) yields ErrCompacted; begin again from 0.
	Watch(ctx context.Context, prefix string, from Revision) iter.Seq2[Event, error]
	// Lead blocks until this holder leads under name, or ctx ends.
	Lead(ctx context.Context, name, holder string) (Leadership, error)
	Close() error
}

// Errors that callers branch on.
var (
	ErrNotFound  = errors.New("no such object")
	ErrConflict  = errors.New("changed by someone else")
	ErrCompacted = errors.New("revision too old to watch from")
	ErrTooLarge  = errors.New("value over 512 KiB or more than 64 operations")
	ErrClosed    = errors.New("store is closed")
	// ErrNotLeading says that the leadership on which a Commit depends is over.
	ErrNotLeading = errors.New("another leads")
)
