package main

import (
	"strings"
	"testing"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// TestHold sets the default on top of what another user changes meanwhile, and the choice of
// groups; what is not given stays as it is.
func TestHold(t *testing.T) {
	f := &fake{stale: 3}
	sock := serve(t, f)
	for _, tt := range []struct{ line, out string }{
		{"hold", "default: 3s, then deny\n"},
		{"hold --time 3s", "default: 3s, then deny\n"},
		{"hold --expired pass", "default: 3s, then pass\n"},
		{"hold --time 0 --expired deny", "default: 3s, then deny\n"},
	} {
		if out, errs, code := exec(t, append(strings.Fields(tt.line), "--socket", sock)...); code != 0 || out != tt.out {
			t.Errorf("%s: code %d, %q, %q, want %q", tt.line, code, out, errs, tt.out)
		}
	}
	if f.settings.DefaultHoldExpired != controlv1.HoldExpired_HOLD_EXPIRED_DENY || f.settings.DefaultHold != 0 || f.settings.Revision != 6 {
		t.Errorf("settings %v", &f.settings)
	}
	for line, want := range map[string]string{
		"hold web db --expired pass":        "web+db=false,0,HOLD_EXPIRED_PASS",
		"hold all --time 2s":                "all=true,2000000000,HOLD_EXPIRED_UNSPECIFIED",
		"hold web --time 0":                 "web=true,0,HOLD_EXPIRED_UNSPECIFIED",
		"hold web --time 9s --expired deny": "web=true,9000000000,HOLD_EXPIRED_DENY",
	} {
		f.modes = nil
		if _, errs, code := exec(t, append(strings.Fields(line), "--socket", sock)...); code != 0 || len(f.modes) != 1 || f.modes[0] != want {
			t.Errorf("%s: code %d, %q, %v, want %s", line, code, errs, f.modes, want)
		}
	}
	for line, want := range map[string]string{
		"hold web":                     "nothing to set is given",
		"hold web --expired maybe":     `no choice for expired holds is called "maybe": use pass, deny`,
		"hold slow --expired deny":     "the hold is stored, but not every agent",
		"hold web --time x --wait 1ms": "see `sluice hold --help`",
	} {
		if _, errs, code := exec(t, append(strings.Fields(line), "--socket", sock)...); code == 0 || !strings.Contains(errs, want) {
			t.Errorf("%s: code %d, %q, want %q", line, code, errs, want)
		}
	}
}
