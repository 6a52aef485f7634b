package test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// tallyPort is where the lab's api speaks the protocol of plugins/example.
const tallyPort = 7777

// examplePlugin builds plugins/example, which is a module of its own, into a folder of plugins, and runs its tests.
func examplePlugin(t *testing.T) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "slp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, args := range [][]string{{"test", "./..."}, {"vet", "./..."}, {"build", "-o", filepath.Join(dir, "tally"), "."}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = filepath.Join("..", "plugins", "example")
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s in plugins/example: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return dir
}

// tallyServer answers the example's protocol.
func tallyServer(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if line, err := bufio.NewReader(c).ReadString('\n'); err == nil && line == "TALLY 1\n" {
				_, _ = io.WriteString(c, "OK tally/1.2\n")
			}
		}()
	}
}

// tally speaks the example's protocol once.
func (l *lab) tally(from *testnet.Workload, family string) error {
	c, err := from.TryDial(family, l.api.Addr(family, tallyPort), 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, "TALLY 1\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && line != "OK tally/1.2\n" {
		err = fmt.Errorf("answer %q", line)
	}
	return err
}

// pluginLoad makes connections one after the other, several at a time, until it is stopped.
type pluginLoad struct {
	stop   chan struct{}
	wg     sync.WaitGroup
	made   atomic.Int64
	mu     sync.Mutex
	failed []string
}

func (l *lab) load() *pluginLoad {
	p := &pluginLoad{stop: make(chan struct{})}
	get := func(from *testnet.Workload, family string) error { return l.getIn(from, family, 20*time.Second) }
	for _, family := range families {
		for name, once := range map[string]func(*testnet.Workload, string) error{"http": get, "tally": l.tally} {
			p.wg.Go(func() {
				for {
					select {
					case <-p.stop:
						return
					default:
					}
					if err := once(l.web, family); err != nil {
						p.mu.Lock()
						p.failed = append(p.failed, fmt.Sprintf("%s over %s: %v", name, family, err))
						p.mu.Unlock()
					}
					p.made.Add(1)
				}
			})
		}
	}
	return p
}

// pluginOf is the process of a daemon's plugin.
func pluginOf(d *daemon, name string) (pid int, err error) {
	list, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range list {
		stat, _ := os.ReadFile(f)
		_, rest, _ := strings.Cut(string(stat), ") ")
		args, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "cmdline"))
		if g := strings.Fields(rest); len(g) > 1 && g[1] == strconv.Itoa(d.cmd.Process.Pid) && strings.HasPrefix(string(args), "sluice-plugin-"+name+"\x00") {
			return strconv.Atoi(filepath.Base(filepath.Dir(f)))
		}
	}
	return 0, fmt.Errorf("no process of plugin %s", name)
}

// counter is one of the agent's counters.
func (l *lab) counter(name string) (n int) {
	l.t.Helper()
	for line := range strings.SplitSeq(l.run("status", "--counters"), "\n") {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == name {
			n, _ = strconv.Atoi(f[1])
		}
	}
	return n
}

// sessions is how many sessions of an application are known on a port.
func (l *lab) sessions(app string, port int) (n int) {
	l.t.Helper()
	for _, c := range read[[]connection](l.program, "connections") {
		if c.App == app && c.Port == port {
			n += c.Sessions
		}
	}
	return n
}

// TestPluginsFailUnderLoad kills, stops and slows the standard plugin and another one while connections that were
// learned are made in protect mode: each of them works, and those behind the failure are named again.
func TestPluginsFailUnderLoad(t *testing.T) {
	testnet.RequireRoot(t)
	dir := examplePlugin(t)
	l := newLab(t)
	l.args = append(l.args, "--plugin-dir", dir)
	for _, family := range families {
		go tallyServer(l.api.Listen(family, l.api.Addr(family, tallyPort)))
	}
	d := l.start()
	l.learned()
	until(t, 5*time.Second, "a rule for tally", func() error {
		for _, family := range families {
			if err := l.tally(l.web, family); err != nil {
				return err
			}
		}
		if !slices.ContainsFunc(read[[]rule](l.program, "rules"), func(r rule) bool { return slices.Equal(r.Apps, []string{"tally"}) }) {
			return errors.New(l.run("rules"))
		}
		return nil
	})
	l.run("mode", "set", "web", "api", "protect")
	load := l.load()
	for _, name := range []string{"standard", "tally"} {
		for _, harm := range []string{"slow", "killed", "stopped"} {
			l.harm(d, name, harm)
		}
	}
	close(load.stop)
	load.wg.Wait()
	t.Logf("%d connections", load.made.Load())
	if len(load.failed) > 0 {
		t.Errorf("%d of %d connections failed: %s", len(load.failed), load.made.Load(), strings.Join(load.failed[:min(5, len(load.failed))], "; ")+"\n"+l.run("violations"))
	}
	l.works("after the failures")
	l.refused("after the failures", l.intruder, 8080)
	l.refused("after the failures", l.web, 9090)
	until(t, 10*time.Second, "both plugins that were stopped are counted", func() error {
		if n := l.counter("plugin.hung"); n < 2 {
			return fmt.Errorf("%d plugins hung", n)
		}
		return nil
	})
	for _, r := range read[[]rule](l.program, "rules") {
		if slices.Contains(r.Apps, "unknown") {
			t.Errorf("learned unidentified sessions: %+v", r)
		}
	}
	d.stop()
}

// harm does something to a plugin's process, and waits until connections are named again.
func (l *lab) harm(d *daemon, name, how string) {
	l.t.Helper()
	pid, err := pluginOf(d, name)
	if err != nil {
		l.t.Fatal(err)
	}
	if how == "slow" {
		for range 3 {
			_ = syscall.Kill(pid, syscall.SIGSTOP)
			time.Sleep(200 * time.Millisecond)
			_ = syscall.Kill(pid, syscall.SIGCONT)
			time.Sleep(50 * time.Millisecond)
		}
	} else {
		signal := map[string]syscall.Signal{"killed": syscall.SIGKILL, "stopped": syscall.SIGSTOP}[how]
		if err := syscall.Kill(pid, signal); err != nil {
			l.t.Fatal(err)
		}
		until(l.t, 10*time.Second, name+" "+how+": started again", func() error {
			if now, err := pluginOf(d, name); err != nil || now == pid {
				return fmt.Errorf("process %d: %w", now, err)
			}
			return nil
		})
	}
	app, port := "http", 8080
	if name == "tally" {
		app, port = "tally", tallyPort
	}
	before := l.sessions(app, port)
	until(l.t, 10*time.Second, name+" "+how+": named again", func() error {
		if n := l.sessions(app, port); n <= before+10 {
			return fmt.Errorf("%d sessions of %s, %d before", n, app, before)
		}
		return nil
	})
}
