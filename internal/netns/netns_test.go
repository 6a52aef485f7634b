//go:build linux

package netns_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sluicenet/sluice/internal/netns"
)

// create makes a namespace for the test; it skips without root.
func create(t *testing.T, name string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("SLUICE_ROOT_TESTS") == "1" {
			t.Fatal("needs root to make network namespaces")
		}
		t.Skip("needs root to make network namespaces")
	}
	full := fmt.Sprintf("sltest-%d-netns-%s", os.Getpid(), name)
	if err := netns.Create(full); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Delete(full); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(netns.Named(full)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after delete: %v", err)
		}
	})
	return full
}

func TestDo(t *testing.T) {
	a, b := create(t, "a"), create(t, "b")
	home, err := netns.Identity("")
	if err != nil {
		t.Fatal(err)
	}
	here := func() netns.ID {
		id, err := netns.Identity("")
		if err != nil {
			t.Error(err)
		}
		return id
	}
	var inA, inB, stay netns.ID
	err = netns.Do(netns.Named(a), func() error {
		inA = here()
		if err := netns.Do(netns.Named(b), func() error { inB = here(); return nil }); err != nil {
			return err
		}
		if here() != inA {
			t.Error("nested Do did not come back")
		}
		return netns.Do("", func() error { stay = here(); return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	wantA, _ := netns.Identity(netns.Named(a))
	wantB, _ := netns.Identity(netns.Named(b))
	if inA != wantA || inB != wantB || stay != wantA || wantA == wantB || wantA == home {
		t.Errorf("ran in %v %v %v, want %v %v %v", inA, inB, stay, wantA, wantB, wantA)
	}
	for range 50 {
		if got := here(); got != home {
			t.Fatalf("back in %v, want %v", got, home)
		}
	}
}

func TestDoErrors(t *testing.T) {
	a := create(t, "a")
	want := errors.New("mine")
	if err := netns.Do(netns.Named(a), func() error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if err := netns.Do(netns.Named(a)+"-none", func() error { return nil }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing namespace: %v", err)
	}
	file := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := netns.Do(file, func() error { t.Error("ran"); return nil }); err == nil {
		t.Error("entered a plain file")
	}
}

func TestSocketStays(t *testing.T) {
	a := create(t, "a")
	names := func() []string {
		ifs, err := net.Interfaces()
		if err != nil {
			t.Error(err)
		}
		var out []string
		for _, i := range ifs {
			out = append(out, i.Name)
		}
		return out
	}
	var inside []string
	if err := netns.Do(netns.Named(a), func() error { inside = names(); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(inside, []string{"lo"}) {
		t.Errorf("interfaces of a new namespace: %v", inside)
	}
}

func TestNames(t *testing.T) {
	a := create(t, "a")
	if err := netns.Create(a); !errors.Is(err, os.ErrExist) {
		t.Errorf("create twice: %v", err)
	}
	got, err := netns.List()
	if err != nil || !slices.Contains(got, a) {
		t.Errorf("list %v, %v", got, err)
	}
	for _, bad := range []string{"", ".", "..", "a/b", "../x"} {
		if netns.Create(bad) == nil || netns.Delete(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if err := netns.Delete(a + "-none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("delete of a missing one: %v", err)
	}
}
