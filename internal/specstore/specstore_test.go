package specstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/specstore"
	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/embedded"
)

var byText = cmpopts.EquateComparable(netip.Prefix{})

func open(t testing.TB) store.Store {
	t.Helper()
	st, err := embedded.Open(filepath.Join(t.TempDir(), embedded.FileName), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// spec makes a Spec with n addresses that do not compress well.
func spec(version uint64, n int) *policy.Spec {
	r := rand.New(rand.NewPCG(version, 1))
	s := &policy.Spec{
		Version:    version,
		Groups:     []policy.GroupSpec{{Name: "any", Any: true}, {Name: "svc:default/web"}},
		Identities: []policy.IdentitySpec{{}, {Groups: []uint32{0, 1}}},
		Workloads:  []policy.WorkloadSpec{{ID: "netns:web", Identity: 1, Mode: policy.Protect, Hold: time.Second}},
		Rules:      []policy.RuleSpec{{ID: 7, From: 1, To: 0, Ports: []policy.PortSpec{{Proto: 6, Lo: 80, Hi: 80}}}},
		Exempt:     []netip.Prefix{netip.MustParsePrefix("fd00::/8")},
	}
	s.Rules[0].Apps = append(s.Rules[0].Apps, 1001)
	for range n {
		var a [16]byte
		for i := range a {
			a[i] = byte(r.Uint32())
		}
		s.Addresses = append(s.Addresses, policy.AddressSpec{Prefix: netip.PrefixFrom(netip.AddrFrom16(a), 128), Identity: 1})
	}
	return s
}

func TestWriteRead(t *testing.T) {
	st := open(t)
	if s, err := specstore.Read(t.Context(), st, "n1"); s != nil || err != nil {
		t.Fatalf("nothing written: got %v, %v", s, err)
	}
	for _, c := range []struct {
		name    string
		version uint64
		n       int
	}{{"small", 1, 1}, {"several parts", 5, 30_000}, {"small again", 6, 0}, {"and back", 8, 2}} {
		want := spec(c.version, c.n)
		if err := specstore.Write(t.Context(), st, "n/1", want); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got, err := specstore.Read(t.Context(), st, "n/1")
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(want, got, byText); d != "" {
			t.Fatalf("%s (-want +got):\n%.2000s", c.name, d)
		}
		if v, err := specstore.Version(t.Context(), st, "n/1"); v != c.version || err != nil {
			t.Fatalf("%s: version: got %d, %v", c.name, v, err)
		}
		list, _, _ := st.List(t.Context(), "policy/")
		t.Logf("%s: %d objects", c.name, len(list))
	}
	if list, _, _ := st.List(t.Context(), "policy/"); len(list) != 2 {
		t.Fatalf("old parts were not deleted: %d objects", len(list))
	}
	if err := specstore.Write(t.Context(), st, "n/1", spec(8, 0)); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("the same version again: got %v, want ErrConflict", err)
	}
	if err := specstore.Remove(t.Context(), st, "n/1"); err != nil {
		t.Fatal(err)
	}
	if list, _, _ := st.List(t.Context(), ""); len(list) != 0 {
		t.Fatalf("removed: %d objects remain", len(list))
	}
}

func TestWatch(t *testing.T) {
	st := open(t)
	if err := specstore.Write(t.Context(), st, "n1", spec(1, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []uint64
	for s, err := range specstore.Watch(ctx, st, "n1") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s.Version)
		switch s.Version {
		case 1:
			// Two while the reader is busy: it gets the newest.
			for v := uint64(2); v <= 3; v++ {
				if err := specstore.Write(ctx, st, "n1", spec(v, 10_000)); err != nil {
					t.Fatal(err)
				}
			}
			if err := specstore.Write(ctx, st, "n2", spec(9, 1)); err != nil {
				t.Fatal(err)
			}
		case 3:
			if err := specstore.Write(ctx, st, "n1", spec(4, 1)); err != nil {
				t.Fatal(err)
			}
		case 4:
			cancel()
		}
	}
	if d := cmp.Diff([]uint64{1, 3, 4}, got); d != "" {
		t.Fatal(d)
	}
}

func TestWatchBroken(t *testing.T) {
	cases := []struct {
		name string
		op   store.Op
	}{
		{"a part is gone", store.Op{Key: "policy/n1/1/0", Delete: true, Revision: store.Any}},
		{"a part is another", store.Op{Key: "policy/n1/1/0", Value: []byte("x"), Revision: store.Any}},
		{"the head is no JSON", store.Op{Key: "policy/n1/head", Value: []byte("{"), Revision: store.Any}},
		{"the head asks for too much", store.Op{Key: "policy/n1/head", Value: []byte(`{"version":1,"parts":1000000000}`), Revision: store.Any}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			st := open(t)
			if err := specstore.Write(t.Context(), st, "n1", spec(1, 1)); err != nil {
				t.Fatal(err)
			}
			if _, err := st.Commit(t.Context(), c.op); err != nil {
				t.Fatal(err)
			}
			broken := false
			for s, err := range specstore.Watch(t.Context(), st, "n1") {
				if broken {
					if err != nil || s.Version != 2 {
						t.Fatalf("after the next write: got %+v, %v", s, err)
					}
					break
				}
				if broken = errors.Is(err, specstore.ErrBroken); !broken {
					t.Fatalf("got %v, want ErrBroken", err)
				}
				if err := specstore.Write(t.Context(), st, "n1", spec(2, 1)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestWatchEndsWithTheStore(t *testing.T) {
	st := open(t)
	if err := specstore.Write(t.Context(), st, "n1", spec(1, 1)); err != nil {
		t.Fatal(err)
	}
	for _, err := range specstore.Watch(t.Context(), st, "n1") {
		if err == nil {
			st.Close()
		} else if !errors.Is(err, store.ErrClosed) {
			t.Fatalf("got %v, want ErrClosed", err)
		}
	}
}

func TestClean(t *testing.T) {
	st := open(t)
	if err := specstore.Write(t.Context(), st, "n1", spec(3, 1)); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		op := store.Op{Key: fmt.Sprintf("policy/n1/4/%d", i), Value: []byte("left"), Revision: store.Any}
		if _, err := st.Commit(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
	if err := specstore.Clean(t.Context(), st, "n1"); err != nil {
		t.Fatal(err)
	}
	if list, _, _ := st.List(t.Context(), ""); len(list) != 2 {
		t.Fatalf("got %d objects, want head and part", len(list))
	}
	if s, err := specstore.Read(t.Context(), st, "n1"); err != nil || s.Version != 3 {
		t.Fatalf("after it: %v, %v", s, err)
	}
}
