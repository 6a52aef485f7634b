package main

import (
	"log/slog"
	"testing"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// TestModeFlag: --mode of a later start replaces the stored mode of new groups, also if another user writes settings at
// the same time; without the flag, what is stored stays in force.
func TestModeFlag(t *testing.T) {
	f := &fake{stale: 2}
	socket := serve(t, f)
	for _, c := range []struct {
		mode, fail string
		want       controlv1.Mode
		wantFail   controlv1.Fail
	}{
		{"monitor", "", controlv1.Mode_MODE_MONITOR, controlv1.Fail_FAIL_UNSPECIFIED},
		{"", "closed", controlv1.Mode_MODE_MONITOR, controlv1.Fail_FAIL_CLOSED},
		{"protect", "", controlv1.Mode_MODE_PROTECT, controlv1.Fail_FAIL_CLOSED},
		{"", "", controlv1.Mode_MODE_PROTECT, controlv1.Fail_FAIL_CLOSED},
	} {
		flags := &standaloneFlags{socket: socket, mode: c.mode, fail: c.fail}
		got, err := storeDefaults(t.Context(), flags, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if got.DefaultMode != c.want || got.DefaultFail != c.wantFail || f.settings.DefaultMode != c.want || f.settings.DefaultFail != c.wantFail {
			t.Errorf("--mode %q --fail %q: %v, %v, want %v, %v", c.mode, c.fail, got.DefaultMode, got.DefaultFail, c.want, c.wantFail)
		}
	}
	if _, err := (&standaloneFlags{mode: "watch"}).checkMode(); err == nil {
		t.Error("a mode that does not exist is accepted")
	}
}
