package host_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
	"github.com/sluicenet/sluice/plugins/host"
)

// TestNoPrivileges looks at the process as the kernel shows it.
func TestNoPrivileges(t *testing.T) {
	testnet.RequireRoot(t)
	h := start(t, host.Config{Plugins: roles("standard")})
	until(t, "the plugin runs", func() bool { return h.Status()[0].Running })
	until(t, "the plugin runs", func() bool { return h.Status()[0].Running })
	proc := fmt.Sprintf("/proc/%d/", h.Status()[0].PID)
	contains := func(file string, want ...string) {
		t.Helper()
		got, err := os.ReadFile(proc + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(strings.Join(strings.Fields(string(got)), " ")+" ", w+" ") {
				t.Errorf("%s says nothing of %q:\n%s", file, w, got)
			}
		}
	}
	id, own := strings.CutPrefix(h.Status()[0].User, "uid ")
	if !own {
		t.Fatalf("it runs as %q, want an account of its own", h.Status()[0].User)
	}
	four := strings.Repeat(" "+id, 4)
	contains("status", "Uid:"+four, "Gid:"+four, "Groups: NStgid:", "CapInh: 0000000000000000", "CapPrm: 0000000000000000",
		"CapEff: 0000000000000000", "CapBnd: 0000000000000000", "CapAmb: 0000000000000000", "NoNewPrivs: 1")
	contains("limits", fmt.Sprintf("Max address space %d %[1]d bytes", 4<<30), fmt.Sprintf("Max data size %d %[1]d bytes", 640<<20+256<<20),
		"Max processes 256 256 processes", "Max core file size 0 0 bytes", "Max open files 256 256 files", fmt.Sprintf("Max file size %d %[1]d bytes", 1<<20))
	stat, err := os.ReadFile(proc + "stat")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	if f, pid := strings.Fields(rest), filepath.Base(proc); f[2] != pid || f[3] != pid {
		t.Errorf("process group %s and session %s, want its own, %s", f[2], f[3], pid)
	}
	for _, ns := range []string{"net", "ipc"} {
		own, _ := os.Readlink("/proc/self/ns/" + ns)
		if its, err := os.Readlink(proc + "ns/" + ns); err != nil || its == own {
			t.Errorf("%s namespace %s (%v), ours is %s: want another", ns, its, err, own)
		}
	}
}

// TestNothingInherited: neither descriptors nor environment of this process reach a plugin.
func TestNothingInherited(t *testing.T) {
	testnet.RequireRoot(t)
	t.Setenv("SLUICE_SECRET", "1")
	secret, err := os.CreateTemp(t.TempDir(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	if fd, err := syscall.Dup(int(secret.Fd())); err == nil { // without close-on-exec
		defer syscall.Close(fd)
	}
	h := start(t, host.Config{Plugins: roles("standard")})
	until(t, "the plugin runs", func() bool { return h.Status()[0].Running })
	proc := fmt.Sprintf("/proc/%d/", h.Status()[0].PID)
	if env, err := os.ReadFile(proc + "environ"); err != nil || strings.Contains(string(env), "SLUICE_SECRET") || strings.Contains(string(env), "HOME=") {
		t.Errorf("environment (%v): %s", err, strings.ReplaceAll(string(env), "\x00", " "))
	}
	fds, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fds {
		if to, err := os.Readlink(proc + "fd/" + f.Name()); err == nil && to == secret.Name() {
			t.Errorf("descriptor %s is a file of ours: %s", f.Name(), to)
		}
	}
}

// TestEndsWithItsParent kills a process that runs a plugin; the plugin goes with it.
func TestEndsWithItsParent(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self)
	parent.Env = append(os.Environ(), roleKey+"=parent")
	out, err := parent.StdoutPipe()
	if err == nil {
		err = parent.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 16)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	until(t, "the plugin's end", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := strings.Cut(string(stat), ") ")
		return err != nil || strings.HasPrefix(rest, "Z")
	})
}

// TestLeakEnds: a plugin that takes more and more memory is ended by its limit and started again.
func TestLeakEnds(t *testing.T) {
	h := start(t, host.Config{Plugins: roles("leak"), Memory: 32 << 20, Deadline: 30 * time.Second})
	b := newBed(t, h, allow(app.HTTP))
	for i := uint16(0); count(h, "restarts") == 0; i++ {
		if i == 200 {
			t.Fatal("not ended after 3 GiB")
		}
		c := newConn(false, 10000+i)
		b.q.give(c.open()...)
		b.q.give(c.frame(0, packet.ACK|packet.PSH, request))
		until(t, "a request", func() bool { got, resets := b.q.seen(10000 + i); b.q.Wake(); return got != "" || resets > 0 })
	}
	until(t, "a restart", func() bool { return count(h, "running") == 1 })
}
