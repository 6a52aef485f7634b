package workload_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// TestFileIsFollowed changes a workloads file in the ways in which users and tools do.
func TestFileIsFollowed(t *testing.T) {
	testnet.RequireRoot(t)
	b := testnet.New(t).Bridge("web", "api")
	web, api := b.Workloads[0].Name, b.Workloads[1].Name
	file := filepath.Join(t.TempDir(), "w.yaml")
	text := func(labels string, more ...string) string {
		return "workloads:\n  - {name: shop, netns: " + web + ", labels: {" + labels + "}}\n" + strings.Join(more, "")
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text("v: '0'"))
	f := watch(t, workload.NetNSConfig{Patterns: []string{strings.TrimSuffix(web, "web") + "*"}, File: file, Poll: time.Hour})
	is := func(v string) func() bool {
		return func() bool { return f.last["netns:"+web].Labels["v"] == v && f.note == "" }
	}
	f.until("as it was at the start", is("0"))
	write(text("v: '1'"))
	f.until("written in place", is("1"))
	next := file + ".tmp"
	if err := os.WriteFile(next, []byte(text("v: '2'")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
	f.until("renamed over", is("2"))
	// What cannot be used leaves in force what was there, and the reason is reported.
	for _, c := range []struct{ name, text, note string }{
		{"empty", "", "it is empty: write `workloads: []`"},
		{"only its head", "workloads:\n", "it is empty: write `workloads: []`"},
		{"half an entry", "workloads:\n  - {name: shop, netns: " + web + ", labels: {v: \n", "line "},
		{"unknown field", "workloads:\n  - {name: shop, colour: red}\n", `there is no field "colour"`},
	} {
		write(c.text)
		f.until(c.name, func() bool {
			return strings.Contains(f.note, c.note) && strings.HasSuffix(f.note, "the previous content stays in force") && f.last["netns:"+web].Labels["v"] == "2"
		})
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	f.until("removed", func() bool {
		return strings.Contains(f.note, "it was removed; the previous content stays in force") && f.last["netns:"+web].Name == "shop"
	})
	write(text("v: '3'", "  - {netns: "+api+", exclude: true}\n"))
	f.until("back again", is("3"))
	f.until("a namespace excluded", func() bool { _, there := f.last["netns:"+api]; return !there })
	write("workloads: []\n")
	f.until("nothing described", func() bool { return f.last["netns:"+web].Name == web && f.last["netns:"+api].Name == api })
	write(strings.TrimSpace(text("v: '4'")))
	f.until("without the end of its last line", is("4"))
}

// TestFileHalfWritten writes a file piece by piece, each of which would do as a file: only the whole counts.
func TestFileHalfWritten(t *testing.T) {
	testnet.RequireRoot(t)
	b := testnet.New(t).Bridge("web", "api")
	web, api := b.Workloads[0].Name, b.Workloads[1].Name
	file := filepath.Join(t.TempDir(), "w.yaml")
	whole := "workloads:\n  - netns: " + web + "\n    labels: {v: a}\n  - netns: " + api + "\n    labels: {v: a}\n"
	if err := os.WriteFile(file, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	f := watch(t, workload.NetNSConfig{Patterns: []string{strings.TrimSuffix(web, "web") + "*"}, File: file, Poll: time.Hour})
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	last, pause := time.Now(), time.Duration(0)
	for line := range strings.Lines(strings.ReplaceAll(whole, "v: a", "v: b")) {
		if _, err := out.WriteString(line); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // what a slow writer takes
		pause, last = max(pause, time.Since(last)), time.Now()
	}
	out.Close()
	f.until("the whole file", func() bool { return f.last["netns:"+web].Labels["v"] == "b" && f.last["netns:"+api].Labels["v"] == "b" })
	if pause > 200*time.Millisecond {
		t.Logf("the writer was kept waiting for %s: half a file may have counted", pause)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.all {
		if e.Kind == workload.Noted || e.Kind == workload.Added && e.Workload.Labels["v"] == "" {
			t.Errorf("reported of half a file: %+v", e)
		}
	}
}
