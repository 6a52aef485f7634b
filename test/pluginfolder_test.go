package test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// pluginRow is what is looked at of a plugin in `sluice plugins list` and `sluice status`.
type pluginRow struct {
	Name, State, User, Warning string
	LastError                  string `json:"last_error"`
	PID, Panics, Restarts      int
	Apps                       []string
	Away                       bool
}

func (p *program) plugin(name string) pluginRow {
	p.t.Helper()
	for _, x := range read[[]pluginRow](p, "plugins", "list") {
		if x.Name == name {
			return x
		}
	}
	return pluginRow{}
}

// untilPlugin waits until a plugin is as a condition wants it.
func (p *program) untilPlugin(name, what string, ok func(pluginRow) bool) {
	p.t.Helper()
	until(p.t, 10*time.Second, name+": "+what, func() error {
		if x := p.plugin(name); !ok(x) {
			return fmt.Errorf("%+v", x)
		}
		return nil
	})
}

func pluginRuns(p pluginRow) bool { return p.State == "running" && p.PID != 0 }

// saysPlugin builds the plugin of the folder says.
func saysPlugin(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "says")
	if out, err := exec.Command("go", "build", "-o", file, "./says").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return file
}

// putPlugin puts a file into a plugin folder, in the place of one that is there.
func putPlugin(t *testing.T, dir, file string) {
	t.Helper()
	if out, err := exec.Command("install", "-m", "0755", file, dir).CombinedOutput(); err != nil {
		t.Fatalf("install: %v: %s", err, out)
	}
}

// speak sends a line to the echo server, with enough behind it for every parser to decline, and reads it back.
func (l *lab) speak(word, family string) error {
	c, err := l.web.TryDial(family, l.api.Addr(family, 9090), 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	text := word + "\n" + strings.Repeat("-", 64) + "\n"
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, len(text)))
	return err
}

// ruled reports whether a rule names the echo server's port.
func (l *lab) ruled() bool {
	return slices.ContainsFunc(read[[]rule](l.program, "rules"), func(r rule) bool { return slices.Contains(r.Ports, "tcp/9090") })
}

// TestPluginFolder adds, exchanges, breaks and removes plugins while Sluice runs, beside files that are none, and has a parser
// panic: what it was given is learned as nothing.
func TestPluginFolder(t *testing.T) {
	testnet.RequireRoot(t)
	dir := examplePlugin(t)
	tally := filepath.Join(t.TempDir(), "tally")
	if err := errors.Join(os.Rename(filepath.Join(dir, "tally"), tally), os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("about them\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "broken"), []byte("no program\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	address := freePort(t)
	l.args = append(l.args, "--plugin-dir", dir)
	for _, family := range families {
		go tallyServer(l.api.Listen(family, l.api.Addr(family, tallyPort)))
	}
	d := l.launch("--listen", address)
	until(t, 10*time.Second, "the daemon answers", func() error {
		if !strings.Contains(d.log.String(), "Try:") {
			return errors.New(d.log.String())
		}
		_, err := l.try("status")
		return err
	})
	for name, want := range map[string]string{"notes.txt": "plugin notes.txt: it is not started: ", "broken": "plugin broken: it does not run"} {
		until(t, 5*time.Second, "the warning of "+name, func() error {
			if out := l.run("status"); !strings.Contains(out, want) || !strings.Contains(out, "chmod +x") {
				return errors.New(out)
			}
			return nil
		})
	}
	l.panicTeachesNothing(d, dir, address)
	l.exchangeTally(dir, tally)
	l.breakPlugin(dir, address)
	if err := os.Remove(filepath.Join(dir, "says")); err != nil {
		t.Fatal(err)
	}
	l.untilPlugin("says", "removed", func(p pluginRow) bool { return p.Name == "" })
	l.works("after the removal")
	d.stop()
}

// panicTeachesNothing has the parser of an added plugin panic.
func (l *lab) panicTeachesNothing(d *daemon, dir, address string) {
	putPlugin(l.t, dir, saysPlugin(l.t))
	l.untilPlugin("says", "added", pluginRuns)
	for _, family := range families {
		if err := l.speak("PANIC", family); err != nil {
			l.t.Errorf("PANIC over %s: %v", family, err)
		}
	}
	// Each of the two connections is seen at both of its ends.
	l.untilPlugin("says", "panicked", func(p pluginRow) bool {
		return p.Panics == 4 && p.Restarts == 0 && strings.Contains(p.LastError, "index out of range") && strings.Contains(p.LastError, "main.go:")
	})
	until(l.t, 5*time.Second, "their connections", func() error {
		if n := l.sessions("unknown", 9090); n < 2 {
			return fmt.Errorf("%d sessions: %s", n, l.run("connections"))
		}
		return nil
	})
	l.learned() // by now the controller has learned whatever it was to learn of them, too
	if l.ruled() {
		l.t.Errorf("what a panic left without a name was learned: %s", l.run("rules"))
	}
	samples, _, err := scrape(address)
	if n := samples[`sluice_plugin_panics_total{plugin="says"}`]; n != 4 {
		l.t.Errorf("metrics count %v panics (%v), want 4", n, err)
	}
	if out := l.run("status"); !strings.Contains(out, "PANICS") {
		l.t.Errorf("status shows no panics: %s", out)
	}
	// The same without a panic is learned.
	for _, family := range families {
		if err := l.speak("WRITE", family); err != nil {
			l.t.Errorf("WRITE over %s: %v", family, err)
		}
	}
	until(l.t, 10*time.Second, "a rule for what every parser declined", func() error {
		if !l.ruled() {
			return errors.New(l.run("rules"))
		}
		return nil
	})
	for _, text := range []string{"stdout before", "stderr before", "stdout after", "stderr after"} {
		if !slices.ContainsFunc(strings.Split(d.log.String(), "\n"), func(line string) bool {
			return strings.Contains(line, text) && strings.Contains(line, "plugin=says") && strings.Contains(line, "stream="+text[:6])
		}) {
			l.t.Errorf("the log lacks %q of the plugin", text)
		}
	}
}

// exchangeTally adds a plugin, replaces its file and removes it, while its protocol is spoken.
func (l *lab) exchangeTally(dir, file string) {
	load := l.load()
	named := func(when string) {
		before := l.sessions("tally", tallyPort)
		until(l.t, 10*time.Second, when+": sessions of tally", func() error {
			if n := l.sessions("tally", tallyPort); n <= before {
				return fmt.Errorf("%d sessions, %d before", n, before)
			}
			return nil
		})
	}
	putPlugin(l.t, dir, file)
	named("added")
	first := l.plugin("tally")
	putPlugin(l.t, dir, file)
	l.untilPlugin("tally", "exchanged", func(p pluginRow) bool { return pluginRuns(p) && p.PID != first.PID })
	named("exchanged")
	if out, code := l.plugins("check", filepath.Join(dir, "tally")); code != 0 || !strings.Contains(out, "tally") {
		l.t.Errorf("check of a plugin that works: exit code %d\n%s", code, out)
	}
	if out, code := l.plugins("check", dir); code != 1 || !strings.Contains(out, "chmod +x") || !strings.Contains(out, "it is no program") || !strings.Contains(out, "says") {
		l.t.Errorf("check of the folder: exit code %d\n%s", code, out)
	}
	if out, code := l.plugins("list", dir); code != 0 || !strings.Contains(out, "running") || !strings.Contains(out, "refused") || !strings.Contains(out, "it is no program") {
		l.t.Errorf("list of the folder: exit code %d\n%s", code, out)
	}
	if err := os.Remove(filepath.Join(dir, "tally")); err != nil {
		l.t.Fatal(err)
	}
	l.untilPlugin("tally", "removed", func(p pluginRow) bool { return p.Name == "" })
	close(load.stop)
	load.wg.Wait()
	l.t.Logf("%d connections", load.made.Load())
	if len(load.failed) > 0 {
		l.t.Errorf("%d of %d connections failed: %s", len(load.failed), load.made.Load(), strings.Join(load.failed[:min(5, len(load.failed))], "; "))
	}
}

// plugins runs `sluice plugins check` or `sluice plugins list`.
func (l *lab) plugins(command, path string) (out string, code int) {
	b, err := l.command("plugins", command, path).CombinedOutput()
	return string(b), exitCode(err)
}

// breakPlugin takes from a plugin the permission to be executed, and ends its process: health reports it until it is repaired.
func (l *lab) breakPlugin(dir, address string) {
	health := func(want int, text string) {
		l.t.Helper()
		until(l.t, 10*time.Second, text, func() error {
			body, code, err := fetchURL("http://" + address + "/healthz")
			if err != nil || code != want || !strings.Contains(body, text) {
				return fmt.Errorf("status %d, %q: %w", code, body, err)
			}
			return nil
		})
	}
	health(http.StatusOK, "ok")
	file := filepath.Join(dir, "says")
	if err := errors.Join(os.Chmod(file, 0o644), syscall.Kill(l.plugin("says").PID, syscall.SIGKILL)); err != nil {
		l.t.Fatal(err)
	}
	health(http.StatusServiceUnavailable, "plugin says: it is not started: "+file+" is not executable")
	l.works("without a plugin")
	if err := os.Chmod(file, 0o755); err != nil {
		l.t.Fatal(err)
	}
	l.untilPlugin("says", "mended", func(p pluginRow) bool { return pluginRuns(p) && p.Warning == "" && !p.Away })
	health(http.StatusOK, "ok")
}
