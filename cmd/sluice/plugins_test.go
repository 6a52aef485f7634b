package main

import (
	"strings"
	"testing"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// TestPluginTrouble checks which plugins make an agent unwell.
func TestPluginTrouble(t *testing.T) {
	tests := map[string]struct {
		state string
		away  bool
		want  string
	}{"runs": {"running", false, ""}, "restarts": {"restarting", true, ""}, "never ran": {"failed", false, ""}, "no plugin": {"refused", false, ""},
		"failed": {"failed", true, "plugin own: it does not run"}, "refused": {"refused", true, "plugin own: it does not run"}}
	for name, tt := range tests {
		list := []*controlv1.Plugin{{Name: "standard", State: "running"}, {Name: "own", State: tt.state, Away: tt.away, Warning: "it does not run"}}
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
type pluginsAgent struct{ state *controlv1.AgentState }

func (f *pluginsAgent) Status() *controlv1.NodeStatus    { return &controlv1.NodeStatus{State: f.state} }
func (f *pluginsAgent) Workloads() []*controlv1.Workload { return nil }
