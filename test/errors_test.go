package test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// TestStartErrors checks that what keeps the daemon from starting is one plain sentence and exit
// code 1, with nothing left behind.
func TestStartErrors(t *testing.T) {
	testnet.RequireRoot(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		name string
		// prepare may put something in the way; it gives more arguments.
		prepare func(t *testing.T, p *program) []string
		want    string
	}{
		{"no such namespace", func(*testing.T, *program) []string { return []string{"--netns", "sluice-none"} }, `there is no network namespace "sluice-none"`},
		{"port taken", func(*testing.T, *program) []string { return []string{"--listen", taken.Addr().String()} }, "port taken: something listens on " + taken.Addr().String()},
		{"no workloads file", func(*testing.T, *program) []string { return []string{"--workloads", "/nonexistent.yaml"} }, "workloads file /nonexistent.yaml: no such file"},
		{"no plugin folder", func(*testing.T, *program) []string { return []string{"--plugin-dir", "/nonexistent"} }, "plugin folder: stat /nonexistent: no such file"},
		{"damaged store", func(t *testing.T, p *program) []string {
			write(t, filepath.Join(p.dir, "data", "sluice.db"), strings.Repeat("damage ", 10000))
			return nil
		}, "damaged"},
		{"socket folder is a file", func(t *testing.T, p *program) []string {
			write(t, filepath.Join(p.dir, "run"), "")
			return nil
		}, "no socket can be made in"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newProgram(t, "--netns", "sluice-test-none-*")
			more := tt.prepare(t, p)
			out, err := exitOf(p.launch(more...))
			last := lastLine(out)
			if code := exitCode(err); code != 1 || !strings.HasPrefix(last, "error: ") || !strings.Contains(last, tt.want) {
				t.Errorf("exit code %d, output %q, want 1 and %q", code, out, tt.want)
			}
			if _, err := os.Stat(p.socket()); err == nil {
				t.Error("a socket was left behind")
			}
		})
	}
}

func TestNotRoot(t *testing.T) {
	testnet.RequireRoot(t)
	p := newProgram(t)
	cmd := p.command("standalone", "--data", filepath.Join(p.dir, "data"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if exitCode(err) != 1 || !strings.HasPrefix(string(out), "error: watching other namespaces needs root: start it with sudo") || strings.Count(string(out), "\n") != 1 {
		t.Errorf("%v: %s", err, out)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func exitCode(err error) int {
	if e, ok := err.(*exec.ExitError); ok {
		return e.ExitCode()
	}
	return 0
}
