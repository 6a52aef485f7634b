package host_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/plugins/host"
)

// statusOf is one plugin's.
func statusOf(h *host.Host, name string) host.Status {
	for _, s := range h.Status() {
		if s.Name == name {
			return s
		}
	}
	return host.Status{}
}

// hasWarning reports whether a plugin's warning has a text.
func hasWarning(h *host.Host, name, text string) bool {
	for _, w := range h.Warnings() {
		if strings.HasPrefix(w, "plugin "+name+": ") && strings.Contains(w, text) {
			return true
		}
	}
	return false
}

// broken fills a folder with a plugin that works and everything that can be wrong with a file.
func broken(t *testing.T) (dir string, want map[string]string) {
	dir = folder(t)
	for _, role := range []string{"line", "exits", "hangs", "foreign", "newer"} {
		install(t, dir, role, role)
	}
	for name, text := range map[string]string{"readme.txt": "about these plugins\n", "text": "no program\n", "script": "#!/bin/sh\necho hello\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	install(t, dir, "open", "line")
	for name, mode := range map[string]os.FileMode{"text": 0o755, "script": 0o755, "open": 0o777} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	// Any bytes may be a file's name, and what its last words are.
	if err := os.WriteFile(filepath.Join(dir, "b\xff\n"), []byte("#!/bin/sh\nprintf '\\377\\n'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	want = map[string]string{
		`b\xff\n`:    "its last output was \"?\"",
		"readme.txt": "chmod +x, or move it elsewhere", "text": "it is no program", "script": "its last output was \"hello\"", "open": "use chmod go-w",
		"link": "no such file", "exits": "exit status 3: its last output was \"no configuration\"", "hangs": "it is not ready after", "foreign": "it is a plugin of another program",
		"newer": "it is built for another version of sluice",
	}
	if os.Geteuid() == 0 {
		install(t, dir, "owned", "line")
		if err := os.Chown(filepath.Join(dir, "owned"), 4321, 4321); err != nil {
			t.Fatal(err)
		}
		want["owned"] = "change the owner with chown"
		install(t, dir, "private", "line")
		if err := os.Chmod(filepath.Join(dir, "private"), 0o700); err != nil {
			t.Fatal(err)
		}
		want["private"] = "may not execute it"
	}
	return dir, want
}

// TestBrokenFiles checks that no file of the folder keeps others from running, that each is reported with a remedy, and that one
// runs when it is mended.
func TestBrokenFiles(t *testing.T) {
	dir, want := broken(t)
	began := time.Now()
	h := start(t, host.Config{Plugins: roles("standard"), Dir: dir, StartTimeout: 3 * time.Second})
	if took := time.Since(began); took > 8*slack*time.Second {
		t.Errorf("starting took %s", took)
	}
	until(t, "what works", func() bool { return statusOf(h, "standard").Running && statusOf(h, "line").Running })
	for name, text := range want {
		until(t, "the warning of "+name+": "+text, func() bool { return hasWarning(h, name, text) })
		s := statusOf(h, name)
		for _, text := range []string{s.Name, s.Path, s.Error, s.Last, s.Warning} {
			if !utf8.ValidString(text) {
				t.Errorf("%s: %q is no text", name, text)
			}
		}
		if s.Running || s.Away || s.State != host.Failed && s.State != host.Refused {
			t.Errorf("%s: status %+v, want failed or refused, and no sessions that it might have known", name, s)
		}
	}
	if s := statusOf(h, "sub"); s.Name != "" {
		t.Errorf("a folder is a plugin: %+v", s)
	}
	b := newBed(t, h, allow(app.HTTP))
	b.session(t, true, 40000, strings.Replace(request, "GET", "POST", 1), func(f flow.Record) bool { return f.Verdict == flow.Allow && app.ID(f.App) == app.HTTP })
	f := b.session(t, true, 40001, "neither of them\n", decided)
	if f.Reason == flow.ByUnidentified {
		t.Errorf("what no plugin was asked for yet is unidentified: %+v", f)
	}
	if err := os.Chmod(filepath.Join(dir, "open"), 0o755); err != nil {
		t.Fatal(err)
	}
	until(t, "the mended plugin", func() bool { s := statusOf(h, "open"); return s.Running && s.Warning == "" })
}

// TestStrict checks that a capture's reader, who cannot wait for a plugin to be mended, gets an error instead.
func TestStrict(t *testing.T) {
	dir := folder(t)
	install(t, dir, "line", "line")
	install(t, dir, "exits", "exits")
	if err := os.WriteFile(filepath.Join(dir, "readme.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if h, err := host.Start(context.Background(), host.Config{Dir: dir, Strict: true}); err == nil {
		h.Close()
		t.Error("started with a broken plugin")
	} else if !strings.Contains(err.Error(), "plugin exits: start: it ended before it served") || strings.Contains(err.Error(), "readme") {
		t.Errorf("error %v, want that of the plugin alone", err)
	}
	if err := os.Remove(filepath.Join(dir, "exits")); err != nil {
		t.Fatal(err)
	}
	h := start(t, host.Config{Dir: dir, Strict: true})
	if s := h.Status(); len(s) != 1 || !s[0].Running {
		t.Errorf("status %+v, want one that runs", s)
	}
}

// TestKnownPluginIsMissed runs a plugin, breaks its file and starts again: sessions that it might have known are unidentified and
// not unknown, until it is mended or removed.
func TestKnownPluginIsMissed(t *testing.T) {
	dir, known := folder(t), filepath.Join(t.TempDir(), "plugins.json")
	install(t, dir, "line", "line")
	cfg := host.Config{Plugins: roles("standard"), Dir: dir, Known: known}
	h := start(t, cfg)
	until(t, "the plugin runs", func() bool { return statusOf(h, "line").Running })
	h.Close()
	if err := os.Chmod(filepath.Join(dir, "line"), 0o644); err != nil {
		t.Fatal(err)
	}
	h = start(t, cfg)
	if s := statusOf(h, "line"); !s.Away || s.State != host.Refused {
		t.Fatalf("status %+v, want refused and away", s)
	}
	b := newBedOf(t, h, policy.WorkloadSpec{Mode: policy.Discover})
	if f := b.session(t, false, 40000, "LINE hello\n", decided); f.Reason != flow.ByUnidentified {
		t.Errorf("its session: %v by %v, want unidentified", app.ID(f.App), f.Reason)
	}
	if err := os.Remove(filepath.Join(dir, "line")); err != nil {
		t.Fatal(err)
	}
	until(t, "the removal", func() bool { return len(h.Status()) == 1 })
	if f := b.session(t, false, 40001, "LINE hello\n", decided); f.Reason == flow.ByUnidentified {
		t.Errorf("its session after the removal: %v by %v, want unknown", app.ID(f.App), f.Reason)
	}
}
