package blob_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/blob"
	"github.com/sluicenet/sluice/store/embedded"
)

func open(t *testing.T) store.Store {
	t.Helper()
	st, err := embedded.Open(filepath.Join(t.TempDir(), embedded.FileName), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// noise is bytes that do not compress.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func count(t *testing.T, st store.Store) int {
	t.Helper()
	list, _, err := st.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestWriteRead(t *testing.T) {
	st := open(t)
	if data, v, err := blob.Read(t.Context(), st, "g"); data != nil || v != 0 || err != nil {
		t.Fatalf("nothing written: got %d bytes, %d, %v", len(data), v, err)
	}
	cases := []struct {
		name    string
		version uint64
		size    int
	}{{"empty", 1, 0}, {"small", 2, 10}, {"several parts", 5, 1 << 20}, {"more than a commit", 6, 18 << 20}, {"and again", 7, 17 << 20}, {"small again", 9, 1}}
	for _, c := range cases {
		want := noise(c.version, c.size)
		if err := blob.Write(t.Context(), st, "g", c.version, want); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got, v, err := blob.Read(t.Context(), st, "g")
		if err != nil || v != c.version || !bytes.Equal(got, want) {
			t.Fatalf("%s: got %d bytes, version %d, %v", c.name, len(got), v, err)
		}
		if got, most := count(t, st), 3+c.size/(256<<10); got > most {
			t.Fatalf("%s: %d objects, want at most %d", c.name, got, most)
		}
	}
	if err := blob.Write(t.Context(), st, "g", 9, nil); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("the same version again: got %v, want ErrConflict", err)
	}
}

func TestCleanAndRemove(t *testing.T) {
	st := open(t)
	for _, path := range []string{"g", "g2"} {
		if err := blob.Write(t.Context(), st, path, 3, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		op := store.Op{Key: fmt.Sprintf("g/4/%d", i), Value: []byte("left"), Revision: store.Any}
		if _, err := st.Commit(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
	if err := blob.Clean(t.Context(), st, "g"); err != nil || count(t, st) != 4 {
		t.Fatalf("clean: %v, %d objects", err, count(t, st))
	}
	if data, _, err := blob.Read(t.Context(), st, "g"); err != nil || string(data) != "x" {
		t.Fatalf("after it: %q, %v", data, err)
	}
	if err := blob.Remove(t.Context(), st, "g"); err != nil || count(t, st) != 2 {
		t.Fatalf("remove: %v, %d objects", err, count(t, st))
	}
}

func TestBroken(t *testing.T) {
	for _, op := range []store.Op{
		{Key: "g/1/0", Delete: true},
		{Key: "g/1/0", Value: []byte("x")},
		{Key: "g/head", Value: []byte("{")},
		{Key: "g/head", Value: []byte(`{"version":1,"parts":1000000000}`)},
	} {
		st := open(t)
		if err := blob.Write(t.Context(), st, "g", 1, []byte("x")); err != nil {
			t.Fatal(err)
		}
		op.Revision = store.Any
		if _, err := st.Commit(t.Context(), op); err != nil {
			t.Fatal(err)
		}
		if _, _, err := blob.Read(t.Context(), st, "g"); !errors.Is(err, blob.ErrBroken) {
			t.Errorf("%s=%q: got %v, want ErrBroken", op.Key, op.Value, err)
		}
		if err := blob.Write(t.Context(), st, "g", 2, []byte("y")); err != nil {
			t.Errorf("%s=%q: write after it: %v", op.Key, op.Value, err)
		}
	}
}
