package main

import (
	"testing"

	"github.com/spf13/pflag"

	"github.com/sluicenet/sluice/core/engine"
)

// TestSessionsFlag: --sessions sets the size of the engine's tables, and absurd ones are errors.
func TestSessionsFlag(t *testing.T) {
	for _, c := range []struct {
		arg  string
		want int // 0: an error
	}{{"", defaultSessions}, {"--sessions=4096", 4096}, {"--sessions=0", 0}, {"--sessions=-1", 0}, {"--sessions=100000000000", 0}} {
		var o openFlags
		fl := pflag.NewFlagSet("sluice", pflag.ContinueOnError)
		o.add(fl)
		args := []string{c.arg}
		if c.arg == "" {
			args = nil
		}
		if err := fl.Parse(args); err != nil {
			t.Fatal(err)
		}
		err := o.check()
		if (err != nil) != (c.want == 0) {
			t.Errorf("%q: got error %v", c.arg, err)
		}
		if got := o.apply(engine.Config{}).MaxSessions; err == nil && got != c.want {
			t.Errorf("%q: got %d sessions, want %d", c.arg, got, c.want)
		}
	}
}
