package agent

import (
	"log/slog"
	"os"
	"testing"

	"github.com/sluicenet/sluice/core/policy"
)

func spec(version uint64) *policy.Spec {
	return &policy.Spec{Version: version, Groups: []policy.GroupSpec{{Name: "any", Any: true}}, Identities: []policy.IdentitySpec{{}}}
}

// TestKeepDamaged damages what is on disk after versions 1 and 2 were kept.
func TestKeepDamaged(t *testing.T) {
	cases := []struct {
		name   string
		damage func(t *testing.T, path string)
		want   uint64 // 0 is no policy
	}{
		{"nothing", func(*testing.T, string) {}, 2},
		{"cut off", func(t *testing.T, path string) { cut(t, path, 2) }, 2},
		{"cut off in the sum", func(t *testing.T, path string) { change(t, path, func(b []byte) []byte { return b[:len(b)-3] }) }, 2},
		{"empty", func(t *testing.T, path string) { change(t, path, func([]byte) []byte { return nil }) }, 2},
		{"one bit", func(t *testing.T, path string) { change(t, path, func(b []byte) []byte { b[11] ^= 1; return b }) }, 2},
		{"gone", func(t *testing.T, path string) { remove(t, path) }, 2},
		{"the copy is gone", func(t *testing.T, path string) { remove(t, path+suffixCopy) }, 2},
		{"by an earlier version of the program", func(t *testing.T, path string) {
			remove(t, path+suffixCopy)
			change(t, path, func([]byte) []byte {
				return []byte(`{"version":2,"groups":[{"name":"any","any":true}],"identities":[{}]}`)
			})
		}, 2},
		{"both", func(t *testing.T, path string) { cut(t, path, 2); cut(t, path+suffixCopy, 2) }, 0},
		{"both gone", func(t *testing.T, path string) { remove(t, path); remove(t, path+suffixCopy) }, 0},
		{"half of a new one beside it", func(t *testing.T, path string) {
			if err := os.WriteFile(path+".new", []byte(`{"ver`), 0o600); err != nil {
				t.Fatal(err)
			}
		}, 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			k := newKeeper(t.TempDir(), "n/1", slog.New(slog.DiscardHandler))
			for v := uint64(1); v <= 2; v++ {
				if err := k.writePolicy(spec(v)); err != nil {
					t.Fatal(err)
				}
			}
			c.damage(t, k.path)
			var got uint64
			if p := k.restore(); p != nil {
				got = p.table.Version()
			}
			if got != c.want {
				t.Errorf("restored version %d, want %d", got, c.want)
			}
		})
	}
}

// TestKeepRepairs removes and damages what a running keeper wrote.
func TestKeepRepairs(t *testing.T) {
	k := newKeeper(t.TempDir(), "n1", slog.New(slog.DiscardHandler))
	k.repair() // nothing was written
	if err := k.writePolicy(spec(7)); err != nil {
		t.Fatal(err)
	}
	for name, harm := range map[string]func(){
		"nothing":      func() {},
		"both gone":    func() { remove(t, k.path); remove(t, k.path+suffixCopy) },
		"both damaged": func() { cut(t, k.path, 2); cut(t, k.path+suffixCopy, 3) },
		"one damaged":  func() { cut(t, k.path, 2) },
	} {
		harm()
		k.repair()
		for _, path := range []string{k.path, k.path + suffixCopy} {
			if p, err := readPolicy(path); err != nil || p.spec.Version != 7 {
				t.Errorf("%s: %s: %v, %v", name, path, p, err)
			}
		}
	}
}

func cut(t *testing.T, path string, by int) {
	t.Helper()
	change(t, path, func(b []byte) []byte { return b[:len(b)/by] })
}

func change(t *testing.T, path string, fn func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, fn(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
