// Package embedded implements store.Store for one machine: one bbolt file, with watches and leadership in
// memory. It is for a single process; several machines share a Consul store instead.
package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/sluicenet/sluice/store"
)

// FileName is the name of the store's file in a data folder.
const FileName = "sluice.db"

// Format is the version of the file's contents that this build reads and writes.
const Format = 1

// Errors of Open, for errors.Is. The error itself is a sentence for operators.
var (
	ErrNewer   = errors.New("store was written by a newer sluice")
	ErrDamaged = errors.New("store file is damaged")
	ErrLocked  = errors.New("another sluice uses the store")
)

// fault is a sentence for operators that matches one of the sentinels.
type fault struct {
	kind error
	text string
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.kind }

// Options configure a store; the zero value is usable.
type Options struct {
	// LockWait is how long to wait for another process to release the file; 0 is one second.
	LockWait time.Duration
	// HistoryEvents and HistoryBytes bound the changes kept in memory for watches; 0 is
	// 16,384 and 8 MiB. The newest Commit is always kept.
	HistoryEvents int
	HistoryBytes  int
	// Logger logs damage found at run time; nil is none.
	Logger *slog.Logger
}

// Bucket and key names in the file.
var (
	bucketMeta    = []byte("meta")
	bucketObjects = []byte("objects")
	keyFormat     = []byte("format")
	keyRevision   = []byte("revision")
)

// Store is an open store file. It implements store.Store.
type Store struct {
	path    string
	db      *bbolt.DB
	log     *slog.Logger
	history history
	leads   leads
	pending chan *commit
	quit    chan struct{} // closed by Close
	done    chan struct{} // closed when the writer has ended
	closing sync.Once
	// views counts reads in progress, so that Close waits for them.
	views sync.RWMutex
}

var _ store.Store = (*Store)(nil)

// Open opens the store at path and creates it, and its folder, if missing. Errors are sentences with what to
// do; ErrNewer, ErrDamaged and ErrLocked distinguish them. An unusable file is not changed.
func Open(path string, o Options) (*Store, error) {
	if o.LockWait <= 0 {
		o.LockWait = time.Second
	}
	if o.HistoryEvents <= 0 {
		o.HistoryEvents = 16384
	}
	if o.HistoryBytes <= 0 {
		o.HistoryBytes = 8 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	db, rev, err := openFile(path, o.LockWait)
	if err != nil {
		return nil, err
	}
	s := &Store{
		path: path, db: db, log: o.Logger,
		pending: make(chan *commit, 256), quit: make(chan struct{}), done: make(chan struct{}),
	}
	s.history.open(rev, o.HistoryEvents, o.HistoryBytes)
	s.leads.held = make(map[string]*lead)
	go s.write(rev)
	return s, nil
}

// openFile opens and checks the file. bbolt panics on bad pages, and a truncated file faults in its memory
// map; both become ErrDamaged.
func openFile(path string, wait time.Duration) (db *bbolt.DB, rev store.Revision, err error) {
	var file *os.File
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged(path, fmt.Errorf("%v", p))
		}
		if err != nil && file != nil {
			// After a panic of bbolt its memory map remains, and the lock would, too.
			unlock(file)
			file.Close()
		}
	}()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      wait,
		FreelistType: bbolt.FreelistMapType,
		OpenFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, perm)
			file = f
			return f, err
		},
	})
	if err != nil {
		return nil, 0, openError(path, err)
	}
	if rev, err = prepare(db, path); err != nil {
		db.Close()
		return nil, 0, err
	}
	return db, rev, nil
}

func openError(path string, err error) error {
	var perr *os.PathError
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		who := ""
		if pid := lockHolder(path); pid != 0 {
			who = " (pid " + strconv.Itoa(pid) + ")"
		}
		return &fault{ErrLocked, fmt.Sprintf("another sluice uses %s%s: stop it, or point --data elsewhere", path, who)}
	case errors.As(err, &perr):
		return fmt.Errorf("open store %s: %w", path, perr.Err)
	}
	return damaged(path, err)
}

func damaged(path string, cause error) error {
	return &fault{ErrDamaged, fmt.Sprintf(
		"store %s is damaged (%v): move it aside to start empty, or restore a backup; nothing was changed", path, cause)}
}

// prepare creates the buckets of a new file; of an existing one it checks the format and reads every object
// once, to detect damage at start.
func prepare(db *bbolt.DB, path string) (rev store.Revision, err error) {
	fresh := false
	err = db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			if k, _ := tx.Cursor().First(); k != nil {
				return damaged(path, errors.New("it is not a sluice store"))
			}
			fresh = true
			return nil
		}
		if rev, err = readMeta(meta, path); err != nil {
			return err
		}
		return checkObjects(tx.Bucket(bucketObjects), rev, path)
	})
	if err != nil || !fresh {
		return rev, err
	}
	return 0, db.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return fmt.Errorf("make store %s: %w", path, err)
		}
		if _, err := tx.CreateBucket(bucketObjects); err != nil {
			return fmt.Errorf("make store %s: %w", path, err)
		}
		return errors.Join(meta.Put(keyFormat, []byte(strconv.Itoa(Format))), putRevision(meta, 0))
	})
}

func readMeta(meta *bbolt.Bucket, path string) (store.Revision, error) {
	format, err := strconv.Atoi(string(meta.Get(keyFormat)))
	if err != nil || format < 1 {
		return 0, damaged(path, errors.New("its format is missing"))
	}
	if format > Format {
		return 0, &fault{ErrNewer, fmt.Sprintf(
			"store %s was written by a newer sluice (format %d, this one knows %d): upgrade sluice or point --data elsewhere",
			path, format, Format)}
	}
	v := meta.Get(keyRevision)
	if len(v) != 8 {
		return 0, damaged(path, errors.New("its revision is missing"))
	}
	return store.Revision(binary.BigEndian.Uint64(v)), nil
}

func checkObjects(objects *bbolt.Bucket, rev store.Revision, path string) error {
	if objects == nil {
		return damaged(path, errors.New("its objects are missing"))
	}
	return objects.ForEach(func(k, v []byte) error {
		o, err := decode(k, v)
		if err == nil && o.Revision > rev {
			err = fmt.Errorf("object %q is from the future", k)
		}
		if err != nil {
			return damaged(path, err)
		}
		return nil
	})
}

func putRevision(meta *bbolt.Bucket, rev store.Revision) error {
	return meta.Put(keyRevision, binary.BigEndian.AppendUint64(nil, uint64(rev)))
}

// A stored value is its revision (8 bytes), a checksum over key, revision and value (4
// bytes; bbolt has none of its own for data pages) and the value.
const valueHeader = 12

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, rev, value []byte) uint32 {
	return crc32.Update(crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, rev), castagnoli, value)
}

func encode(key, value []byte, rev store.Revision) []byte {
	b := make([]byte, valueHeader, valueHeader+len(value))
	binary.BigEndian.PutUint64(b, uint64(rev))
	binary.BigEndian.PutUint32(b[8:], checksum(key, b[:8], value))
	return append(b, value...)
}

// decode returns an Object with its own memory.
func decode(k, v []byte) (store.Object, error) {
	if len(v) < valueHeader || binary.BigEndian.Uint32(v[8:]) != checksum(k, v[:8], v[valueHeader:]) {
		return store.Object{}, fmt.Errorf("object %q is not what was written", k)
	}
	return store.Object{
		Key:      string(k),
		Value:    append([]byte{}, v[valueHeader:]...),
		Revision: store.Revision(binary.BigEndian.Uint64(v)),
	}, nil
}

// view runs fn in a read transaction; damage is an error there, not a panic.
func (s *Store) view(ctx context.Context, fn func(objects *bbolt.Bucket, rev store.Revision) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.views.RLock()
	defer s.views.RUnlock()
	select {
	case <-s.quit:
		return store.ErrClosed
	default:
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged(s.path, fmt.Errorf("%v", p))
		}
	}()
	return s.db.View(func(tx *bbolt.Tx) error {
		rev, err := readMeta(tx.Bucket(bucketMeta), s.path)
		if err != nil {
			return err
		}
		return fn(tx.Bucket(bucketObjects), rev)
	})
}

// Get returns one object; store.ErrNotFound if there is none.
func (s *Store) Get(ctx context.Context, key string) (o store.Object, err error) {
	err = s.view(ctx, func(objects *bbolt.Bucket, _ store.Revision) error {
		v := objects.Get([]byte(key))
		if v == nil {
			return store.ErrNotFound
		}
		var err error
		if o, err = decode([]byte(key), v); err != nil {
			return damaged(s.path, err)
		}
		return nil
	})
	return o, err
}

// List returns every object whose key begins with prefix, by key.
func (s *Store) List(ctx context.Context, prefix string) (list []store.Object, at store.Revision, err error) {
	err = s.view(ctx, func(objects *bbolt.Bucket, rev store.Revision) error {
		at = rev
		c := objects.Cursor()
		p := []byte(prefix)
		for k, v := c.Seek(p); k != nil && bytes.HasPrefix(k, p); k, v = c.Next() {
			o, err := decode(k, v)
			if err != nil {
				return damaged(s.path, err)
			}
			list = append(list, o)
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return list, at, nil
}

// Close ends watches and leaderships, writes accepted Commits and closes the file. It may be called again.
func (s *Store) Close() error {
	var err error
	s.closing.Do(func() {
		close(s.quit)
		s.leads.closeAll()
		<-s.done
		s.views.Lock()
		defer s.views.Unlock()
		if cerr := s.db.Close(); cerr != nil {
			err = fmt.Errorf("close store %s: %w", s.path, cerr)
		}
	})
	return err
}
