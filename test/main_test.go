// Package test tests the whole system as users use it: the real program as a process of its own,
// over namespaces with real traffic. It needs root. What one package can show alone is tested there.
package test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// binary is the program under test, demoBinary the one that demonstrates it; both are built once, into one folder.
var binary, demoBinary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if role := os.Getenv(roleVariable); role != "" {
			return play(role)
		}
		dir, err := os.MkdirTemp("", "sluice-test")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		// Users without privileges run it, too.
		if err := os.Chmod(dir, 0o755); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		binary, demoBinary = filepath.Join(dir, "sluice"), filepath.Join(dir, "sluice-demo")
		build := exec.Command("go", "build", "-o", dir, "github.com/sluicenet/sluice/cmd/sluice", "github.com/sluicenet/sluice/cmd/sluice-demo")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		// Tests that call t.Parallel wait more than they compute. An explicit -parallel replaces this.
		if err := flag.Set("test.parallel", strconv.Itoa(sideBySide)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// sideBySide is how many parallel tests run at the same time, each with daemons of its own.
const sideBySide = 4

// program is a place for daemons and the tools that talk to them.
type program struct {
	t    *testing.T
	dir  string
	args []string
	exe  string // what is run; "" is binary
}

// daemon is one `sluice standalone`.
type daemon struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *testnet.Output
	done chan error
}

func newProgram(t *testing.T, args ...string) *program {
	t.Helper()
	dir, err := os.MkdirTemp("", "sl") // short: a socket's path is at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &program{t: t, dir: dir, args: args}
}

func (p *program) socket() string { return filepath.Join(p.dir, "run", "s") }

func (p *program) command(args ...string) *exec.Cmd {
	cmd := exec.Command(cmp.Or(p.exe, binary), args...)
	cmd.Env = append(os.Environ(), "SLUICE_SOCKET="+p.socket())
	return cmd
}

// start runs a daemon and waits until it answers.
func (p *program) start() *daemon {
	p.t.Helper()
	d := p.launch()
	until(p.t, 10*time.Second, "the daemon answers", func() error {
		select {
		case err := <-d.done:
			d.done <- err
			p.t.Fatalf("the daemon ended: %v\n%s", err, d.log)
		default:
		}
		if !strings.Contains(d.log.String(), "Try:") { // it is ready when the workloads are attached
			return errors.New(d.log.String())
		}
		_, err := p.try("status")
		return err
	})
	return d
}

func (p *program) launch(more ...string) *daemon {
	p.t.Helper()
	args := append([]string{"standalone", "--data", filepath.Join(p.dir, "data"), "--listen", ""}, p.args...)
	return p.spawn(p.command(append(args, more...)...))
}

// spawn starts a command that runs until it is stopped.
func (p *program) spawn(cmd *exec.Cmd) *daemon {
	p.t.Helper()
	d := &daemon{t: p.t, cmd: cmd, log: &testnet.Output{}, done: make(chan error, 1)}
	d.cmd.Stderr, d.cmd.Stdout = d.log, d.log
	if err := d.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() { d.done <- d.cmd.Wait() }()
	p.t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		<-d.done
		d.done <- nil
		if p.t.Failed() {
			p.t.Logf("daemon's log:\n%s", d.log)
		}
	})
	return d
}

// stop ends a daemon by SIGTERM, which it must obey: within two seconds, or more where the machine does a lot else.
func (d *daemon) stop() {
	d.t.Helper()
	begin := time.Now()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Fatal(err)
	}
	select {
	case err := <-d.done:
		d.done <- err
		if took := time.Since(begin); err != nil || took > 20*time.Second {
			d.t.Errorf("the daemon ended after %s: %v", took, err)
		}
	case <-time.After(30 * time.Second):
		d.t.Fatalf("the daemon did not end:\n%s", d.log)
	}
}

// kill ends a daemon without a chance to clean up.
func (d *daemon) kill() {
	d.t.Helper()
	if err := d.cmd.Process.Kill(); err != nil {
		d.t.Fatal(err)
	}
	err := <-d.done
	d.done <- err
}

// try runs a tool and gives what it wrote; its error output is the error.
func (p *program) try(args ...string) (string, error) {
	cmd := p.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), errors.New(strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// run runs a tool that must work.
func (p *program) run(args ...string) string {
	p.t.Helper()
	out, err := p.try(args...)
	if err != nil {
		p.t.Fatalf("sluice %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// read runs a tool with -o json and decodes its answer.
func read[T any](p *program, args ...string) T {
	p.t.Helper()
	var v T
	out := p.run(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		p.t.Fatalf("sluice %s: %v in %s", strings.Join(args, " "), err, out)
	}
	return v
}

// loaded is how much longer a busy machine may take than the limits of these tests say.
const loaded = 4

// until waits for what other processes bring about.
func until(t *testing.T, limit time.Duration, what string, ok func() error) {
	t.Helper()
	limit *= loaded
	end := time.Now().Add(limit)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s: %v", limit, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
