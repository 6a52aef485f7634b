// Package store defines the store in which controllers keep groups, rules, modes and compiled policy, and
// that agents watch. Two implementations pass one suite (storetest): embedded for one machine, Consul for many.
package store

import (
	"context"
	"errors"
	"iter"
)

// Revision orders changes. It increases over the whole store; 0 is before the first.
type Revision uint64

// Any as an Op's Revision means no check.
const Any = ^Revision(0)

// MaxValue is the maximum size of a value in bytes.
const MaxValue = 512 << 10

// MaxOps is the maximum number of operations in one Commit.
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
	// Synced marks the end of the initial objects; Object is then empty except for Revision, that of the
	// snapshot.
	Synced bool
}

// Leadership is held until Lost is closed or Resign is called.
type Leadership interface {
	Lost() <-chan struct{}
	Resign() error
}

// Fencer is implemented by the Leadership of a store for several processes. A Commit through Fence is
// applied only while the leadership is held, else it returns ErrNotLeading: so a former leader that has
// not noticed its loss changes nothing. Such a Commit holds at most MaxCommit bytes, also for one
// operation; more is ErrTooLarge.
type Fencer interface {
	Fence() Store
}

// Health is the state of a store.
type Health struct {
	// Revision is that of the last known change; it only increases.
	Revision Revision
	// Leader is the leading server of the store; "" for none.
	Leader string
}

// Prober is a Store that reports its health. An error means that it does not answer now; there is no retry
// until ctx ends.
type Prober interface {
	Probe(ctx context.Context) (Health, error)
}

// Store stores objects. All methods are safe for concurrent use.
type Store interface {
	// Get returns one object; ErrNotFound if there is none.
	Get(ctx context.Context, key string) (Object, error)
	// List returns every object whose key begins with prefix, by key, and the revision of the read.
	List(ctx context.Context, prefix string) ([]Object, Revision, error)
	// Commit applies all operations or none, and returns their revision. It returns ErrConflict if a revision
	// does not match, and the errors of Check. After any other error it is unknown whether the operations
	// were applied.
	Commit(ctx context.Context, ops ...Op) (Revision, error)
	// Watch yields the changes below prefix after a revision, in order, until ctx ends. From 0
	// it yields what exists, then Synced, then changes. Quick
	// changes of one key may be merged into the last one. If the revision is too old, the watch yields
	// ErrCompacted; begin again from 0.
	Watch(ctx context.Context, prefix string, from Revision) iter.Seq2[Event, error]
	// Lead blocks until this holder leads under name, or ctx ends.
	Lead(ctx context.Context, name, holder string) (Leadership, error)
	Close() error
}

// Errors that callers branch on.
var (
	ErrNotFound  = errors.New("no such object")
	ErrConflict  = errors.New("changed by another writer")
	ErrCompacted = errors.New("revision too old to watch from")
	ErrTooLarge  = errors.New("value over 512 KiB or more than 64 operations")
	ErrClosed    = errors.New("store is closed")
	// ErrNotLeading means that the leadership of a Commit is over.
	ErrNotLeading = errors.New("not the leader")
)
