package embedded_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/embedded"
	"github.com/sluicenet/sluice/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Suite{Keeps: true, Harness: func(t *testing.T) storetest.Opener {
		path := filepath.Join(t.TempDir(), "data", embedded.FileName)
		return func(t *testing.T) store.Store { return open(t, path, embedded.Options{}) }
	}}.Run(t)
}

// open opens a store that is closed with the test at the latest.
func open(t testing.TB, path string, o embedded.Options) *embedded.Store {
	t.Helper()
	s, err := embedded.Open(path, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t testing.TB, s store.Store, key string, value []byte) store.Revision {
	t.Helper()
	rev, err := s.Commit(t.Context(), store.Op{Key: key, Value: value, Revision: store.Any})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return rev
}

func TestHistoryIsBounded(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "s.db"), embedded.Options{HistoryEvents: 4})
	first := put(t, s, "k", []byte("0"))
	var last store.Revision
	for i := range 8 {
		last = put(t, s, "k", []byte{byte(i)})
	}
	for _, c := range []struct {
		name string
		from store.Revision
		want error
	}{{"too old", first, store.ErrCompacted}, {"within", last - 4, nil}, {"just over", last - 5, store.ErrCompacted}} {
		for e, err := range s.Watch(t.Context(), "", c.from) {
			if !errors.Is(err, c.want) || (err == nil && e.Object.Revision != c.from+1) {
				t.Errorf("%s: got %+v, %v, want %v", c.name, e, err, c.want)
			}
			break
		}
	}
}

func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), embedded.FileName)
	open(t, path, embedded.Options{})
	_, err := embedded.Open(path, embedded.Options{LockWait: 10 * time.Millisecond})
	if !errors.Is(err, embedded.ErrLocked) {
		t.Fatalf("second open: got %v, want ErrLocked", err)
	}
	if runtime.GOOS == "linux" && !strings.Contains(err.Error(), fmt.Sprintf("(pid %d)", os.Getpid())) {
		t.Logf("the holder is not named here: %v", err)
	}
}

func TestNewer(t *testing.T) {
	path := filepath.Join(t.TempDir(), embedded.FileName)
	s := open(t, path, embedded.Options{})
	put(t, s, "k", []byte("v"))
	s.Close()
	edit(t, path, func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("format"), []byte("3")) })
	before, _ := os.ReadFile(path)
	_, err := embedded.Open(path, embedded.Options{})
	want := "store " + path + " was written by a newer sluice (format 3, this one knows 1): upgrade sluice or point --data elsewhere"
	if !errors.Is(err, embedded.ErrNewer) || err.Error() != want {
		t.Fatalf("got %v, want %s", err, want)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Fatal("the file was changed")
	}
}

func edit(t *testing.T, path string, fn func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(fn); err != nil {
		t.Fatal(err)
	}
}

// sample is the bytes of a store with some hundred objects in several layers of pages.
func sample(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sample.db")
	s := open(t, path, embedded.Options{})
	for i := range 20 {
		var ops []store.Op
		for j := range store.MaxOps {
			ops = append(ops, store.Op{Key: fmt.Sprintf("k/%03d/%02d", i, j), Value: bytes.Repeat([]byte{byte(i)}, 500)})
		}
		if _, err := s.Commit(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDamaged(t *testing.T) {
	whole := sample(t)
	fill := func(b []byte, from, to int, c byte) []byte {
		out := bytes.Clone(b)
		for i := from; i < min(to, len(out)); i++ {
			out[i] = c ^ byte(i*7)
		}
		return out
	}
	cases := map[string][]byte{
		"not a store":     []byte("hello, this is not a database\n"),
		"text of a page":  bytes.Repeat([]byte("text "), 4000),
		"meta pages gone": fill(whole, 0, 8192, 0xa5),
		"cut to 1 page":   whole[:4096],
		"cut to 3 pages":  whole[:3*4096],
		"cut in half":     whole[:len(whole)/2],
		"zeroed middle":   append(append(bytes.Clone(whole[:8192]), make([]byte, len(whole)-8192-4096)...), whole[len(whole)-4096:]...),
	}
	value := bytes.Clone(whole)
	value[bytes.LastIndex(value, bytes.Repeat([]byte{19}, 100))] ^= 1
	cases["one bit of a value"] = value
	for name, b := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), embedded.FileName)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // a second time, so that the first left no lock behind
				_, err := embedded.Open(path, embedded.Options{LockWait: 50 * time.Millisecond})
				if !errors.Is(err, embedded.ErrDamaged) {
					t.Fatalf("got %v, want ErrDamaged", err)
				}
				if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "move it aside") {
					t.Fatalf("the error does not end with what to do: %v", err)
				}
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(b, after) {
				t.Fatal("the file was changed")
			}
		})
	}
}

// TestDamagedPages overwrites pages one at a time: the store opens whole or says
// ErrDamaged. Without the newest of bbolt's two meta pages it opens as it was one commit before.
func TestDamagedPages(t *testing.T) {
	whole := sample(t)
	dir := t.TempDir()
	opened := 0
	for page := 0; page*4096 < len(whole); page += 3 {
		b := bytes.Clone(whole)
		for i := page * 4096; i < (page+1)*4096; i++ {
			b[i] = byte(i*31 + i>>8)
		}
		path := filepath.Join(dir, fmt.Sprint(page))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := embedded.Open(path, embedded.Options{LockWait: 50 * time.Millisecond})
		if err == nil {
			list, _, lerr := s.List(t.Context(), "k/")
			if lerr != nil || len(list) != 20*store.MaxOps && (page > 1 || len(list) != 19*store.MaxOps) {
				t.Errorf("page %d: opened with %d objects, %v", page, len(list), lerr)
			}
			opened++
			s.Close()
		} else if !errors.Is(err, embedded.ErrDamaged) {
			t.Errorf("page %d: got %v, want ErrDamaged", page, err)
		}
		os.Remove(path)
	}
	t.Logf("%d pages, every third overwritten: %d were not in use", len(whole)/4096, opened)
}

func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprint(writers, " writers"), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "s.db"), embedded.Options{})
			value := make([]byte, 512)
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for i := w; i < b.N; i += writers {
						put(b, s, fmt.Sprint("k/", i%1000), value)
					}
				})
			}
			wg.Wait()
		})
	}
}
