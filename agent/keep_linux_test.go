package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// On a full disk the policy that is there stays.
func TestKeepFull(t *testing.T) {
	testnet.RequireRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("size=", os.Getpagesize())); err != nil { // one page: one policy
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	k := newKeeper(dir, "n1", slog.New(slog.DiscardHandler))
	if err := k.writePolicy(spec(1)); err != nil {
		t.Fatal(err)
	}
	if err := k.writePolicy(spec(2)); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("on a full disk: got %v, want ENOSPC", err)
	}
	if p := k.restore(); p == nil || p.table.Version() != 1 {
		t.Errorf("restored %v, want version 1", p)
	}
	if left, _ := filepath.Glob(k.path + ".new"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	if err := k.writePolicy(spec(3)); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
