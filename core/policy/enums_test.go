package policy_test

import (
	"encoding"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/core/policy"
)

// setting is one enum of the policy as its users see it: as text.
type setting struct {
	kind  string
	names []string
	value func(uint8) fmt.Stringer
	parse func(string) (fmt.Stringer, error)
	zero  func() encoding.TextUnmarshaler
}

func settings() []setting {
	return []setting{
		{"mode", []string{"discover", "monitor", "protect"}, func(i uint8) fmt.Stringer { return policy.Mode(i) },
			func(s string) (fmt.Stringer, error) { return policy.ParseMode(s) }, func() encoding.TextUnmarshaler { return new(policy.Mode) }},
		{"on_deny setting", []string{"reset", "reject", "drop"}, func(i uint8) fmt.Stringer { return policy.OnDeny(i) },
			func(s string) (fmt.Stringer, error) { return policy.ParseOnDeny(s) }, func() encoding.TextUnmarshaler { return new(policy.OnDeny) }},
		{"unready setting", []string{"allow", "hold", "deny"}, func(i uint8) fmt.Stringer { return policy.Unready(i) },
			func(s string) (fmt.Stringer, error) { return policy.ParseUnready(s) }, func() encoding.TextUnmarshaler { return new(policy.Unready) }},
	}
}

// TestSettingsAreText checks that each value is read back from what it prints, in any case and with blanks around it, and that its text
// form and its JSON are the same name.
func TestSettingsAreText(t *testing.T) {
	for _, s := range settings() {
		for i, name := range s.names {
			v := s.value(uint8(i))
			if v.String() != name {
				t.Errorf("%s %d is %q, want %q", s.kind, i, v, name)
			}
			for _, text := range []string{name, strings.ToUpper(name), " " + name + "\n"} {
				if got, err := s.parse(text); err != nil || got != v {
					t.Errorf("%s %q was read as %v, %v; want %v", s.kind, text, got, err, v)
				}
			}
			b, err := v.(encoding.TextMarshaler).MarshalText()
			if err != nil || string(b) != name {
				t.Errorf("%s %v is written as %q, %v", s.kind, v, b, err)
			}
			back := s.zero()
			if err := back.UnmarshalText(b); err != nil || back.(fmt.Stringer).String() != name {
				t.Errorf("%s %q was read as %v, %v", s.kind, b, back, err)
			}
			if b, err := json.Marshal(v); err != nil || string(b) != `"`+name+`"` {
				t.Errorf("%s %v in JSON is %s, %v", s.kind, v, b, err)
			}
		}
	}
}

// TestSettingsThatDoNotExist checks that an unknown name is an error that lists the right ones, and that a number of another version is
// printed without a panic and never written as a name.
func TestSettingsThatDoNotExist(t *testing.T) {
	for _, s := range settings() {
		for _, text := range []string{"", " ", "invalid-9", s.names[0] + "s", s.names[0][1:]} {
			_, err := s.parse(text)
			if err == nil {
				t.Errorf("%s %q was accepted", s.kind, text)
				continue
			}
			for _, want := range append([]string{s.kind, fmt.Sprintf("%q", strings.TrimSpace(text))}, s.names...) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s %q: the error has no %q: %v", s.kind, text, want, err)
				}
			}
			if err := s.zero().UnmarshalText([]byte(text)); err == nil {
				t.Errorf("%s %q was read from a file", s.kind, text)
			}
		}
		for _, i := range []uint8{uint8(len(s.names)), 200, 255} {
			v := s.value(i)
			if got, want := v.String(), fmt.Sprintf("invalid-%d", i); got != want {
				t.Errorf("%s %d is %q, want %q", s.kind, i, got, want)
			}
			if b, err := v.(encoding.TextMarshaler).MarshalText(); err == nil {
				t.Errorf("%s %d is written as %q", s.kind, i, b)
			}
		}
	}
	if got, err := policy.ParseOnDeny(" Silent "); err != nil || got != policy.Silent {
		t.Errorf("silent was read as %v, %v; want drop", got, err)
	}
}

// TestSafeZeros: a workload of which a Spec says nothing else is watched, not denied, and answers as TCP does.
func TestSafeZeros(t *testing.T) {
	var w policy.WorkloadSpec
	if w.Mode != policy.Discover || w.OnDeny != policy.Reset || w.Unready != policy.UnreadyAllow || w.FailClosed || w.HoldPass || w.Quarantined {
		t.Errorf("got %+v", w)
	}
	table, err := policy.Compile(&policy.Spec{Groups: []policy.GroupSpec{{Name: "any", Any: true}}, Identities: []policy.IdentitySpec{{}}, Workloads: []policy.WorkloadSpec{{ID: "w"}}})
	if err != nil {
		t.Fatal(err)
	}
	got := table.Workload("w")
	if got.Hold() != policy.DefaultHold || got.Mode() != policy.Discover || got.ID() != "w" || got.Identity() != 0 || got.Backend() != "" {
		t.Errorf("compiled: hold %s, mode %s, id %s, identity %d, backend %q", got.Hold(), got.Mode(), got.ID(), got.Identity(), got.Backend())
	}
	if table.Workload("v") != nil {
		t.Error("a workload that is not listed has a policy")
	}
}

func TestCheckBackend(t *testing.T) {
	for _, name := range []string{policy.NFQueueBackend, policy.AFPacketBackend, policy.AutoBackend} {
		if err := policy.CheckBackend(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "AFPacket", "tap", "inline", "nfqueue "} {
		if err := policy.CheckBackend(name); err == nil || !strings.Contains(err.Error(), "use nfqueue, afpacket or auto") {
			t.Errorf("%q: got %v, want an error that names the backends", name, err)
		}
	}
}
