package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/agent/uplink"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// TestPluginTrouble checks which plugins make an agent unwell.
func TestPluginTrouble(t *testing.T) {
	tests := map[string]struct {
		phase controlv1.PluginPhase
		away  bool
		want  string
	}{"runs": {controlv1.PluginPhase_PLUGIN_PHASE_RUNNING, false, ""}, "restarts": {controlv1.PluginPhase_PLUGIN_PHASE_RESTARTING, true, ""}, "never ran": {controlv1.PluginPhase_PLUGIN_PHASE_FAILED, false, ""}, "no plugin": {controlv1.PluginPhase_PLUGIN_PHASE_REFUSED, false, ""},
		"failed": {controlv1.PluginPhase_PLUGIN_PHASE_FAILED, true, "plugin own: it does not run"}, "refused": {controlv1.PluginPhase_PLUGIN_PHASE_REFUSED, true, "plugin own: it does not run"}}
	for name, tt := range tests {
		list := []*controlv1.Plugin{{Name: "standard", Phase: controlv1.PluginPhase_PLUGIN_PHASE_RUNNING}, {Name: "own", Phase: tt.phase, Away: tt.away, Warning: "it does not run"}}
		if got := pluginTrouble(list); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		o := &observed{agent: &pluginsAgent{state: &controlv1.AgentState{Ready: true, Uplink: &controlv1.Uplink{Answers: true}, Plugins: list}}}
		if got := o.unwell(); !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s: health is %q, want %q", name, got, tt.want)
		}
	}
}

// pluginsAgent is an agent in a state.
type pluginsAgent struct {
	state     *controlv1.AgentState
	exceeding []string
}

func (f *pluginsAgent) Status() *controlv1.NodeStatus        { return &controlv1.NodeStatus{State: f.state} }
func (f *pluginsAgent) Workloads() []*controlv1.Workload     { return nil }
func (f *pluginsAgent) Outcomes() map[string]uplink.Outcomes { return nil }
func (f *pluginsAgent) Unjudged() []uplink.Unjudged          { return nil }
func (f *pluginsAgent) Exceeding() []string                  { return f.exceeding }

// TestExceedingIsUnwell: a workload that exceeds its shares is in the answer of /healthz.
func TestExceedingIsUnwell(t *testing.T) {
	a := &pluginsAgent{state: &controlv1.AgentState{Ready: true, Uplink: &controlv1.Uplink{Answers: true}}}
	o := &observed{agent: a}
	if got := o.unwell(); got != "" {
		t.Errorf("health is %q", got)
	}
	a.exceeding = []string{"web: flood: 7 packets", "db: evicted: 3 sessions"}
	if got, want := o.unwell(), "web: flood: 7 packets\ndb: evicted: 3 sessions"; got != want {
		t.Errorf("health is %q, want %q", got, want)
	}
}

// TestPluginsOfFolder: a folder is listed without a running Sluice, with what is wrong with each file.
func TestPluginsOfFolder(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"broken": 0o755, "notes.txt": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("no program\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"plugins", "list", dir, "-o", "json"}, &screen{Writer: &out}, &screen{Writer: &errs}); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	var got []folderPlugin
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	want := map[string][2]string{"broken": {"failed", "it is no program"}, "notes.txt": {"refused", "chmod +x"}}
	for _, p := range got {
		if w := want[p.Name]; p.State != w[0] || !strings.Contains(p.Error, w[1]) || p.Path != filepath.Join(dir, p.Name) {
			t.Errorf("%+v, want %v", p, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d plugins, want %d", len(got), len(want))
	}
}
