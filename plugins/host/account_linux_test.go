package host_test

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sluicenet/sluice/internal/stage/testnet"
	"github.com/sluicenet/sluice/plugins/host"
)

// TestOwnAccounts: each plugin has an account of its own, so that neither the account nobody nor another plugin can
// end it. One that is chosen is used.
func TestOwnAccounts(t *testing.T) {
	testnet.RequireRoot(t)
	h := start(t, host.Config{Plugins: roles("standard", "undecided")})
	two := h.Status()
	ids := map[uint32]bool{65534: true} // nobody
	for _, s := range two {
		text, own := strings.CutPrefix(s.User, "uid ")
		id, err := strconv.ParseUint(text, 10, 32)
		if !own || err != nil || ids[uint32(id)] {
			t.Fatalf("plugin %s runs as %q, want an account that no other has", s.Name, s.User)
		}
		ids[uint32(id)] = true
	}
	for id := range ids {
		for _, s := range two {
			if s.User == "uid "+strconv.Itoa(int(id)) {
				continue
			}
			kill := exec.Command("kill", "-KILL", strconv.Itoa(s.PID))
			kill.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
			if out, err := kill.CombinedOutput(); err == nil {
				t.Errorf("uid %d may kill plugin %s: %s", id, s.Name, out)
			}
		}
	}
	for i, s := range h.Status() {
		if !s.Running || s.PID != two[i].PID || s.Restarts != 0 {
			t.Errorf("plugin %s: %+v", s.Name, s)
		}
	}
	other := start(t, host.Config{Plugins: roles("standard")})
	if user := other.Status()[0].User; user == two[0].User || user == two[1].User {
		t.Errorf("another host's plugin has an account that is in use: %s", user)
	}
	chosen := start(t, host.Config{Plugins: roles("standard"), User: "daemon"})
	if s := chosen.Status()[0]; s.User != "daemon" || !s.Running {
		t.Errorf("with a chosen account: %+v", s)
	}
}

// TestAccountsAreFreed: an account is free again when its process has ended.
func TestAccountsAreFreed(t *testing.T) {
	testnet.RequireRoot(t)
	h := start(t, host.Config{Plugins: roles("standard")})
	first := h.Status()[0]
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "a restart", func() bool { s := h.Status()[0]; return s.Running && s.PID != first.PID })
	if again := h.Status()[0].User; again != first.User {
		t.Errorf("after a restart it runs as %s, before as %s, which is free", again, first.User)
	}
}
