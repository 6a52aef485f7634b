package eventlog_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicenet/sluice/controller/eventlog"
)

// TestRefusedTogether: connections of one kind that are refused together are one event, also when their
// sessions end minutes later.
func TestRefusedTogether(t *testing.T) {
	l := newLab(eventlog.Config{})
	begun := func(r *eventlog.Report) { r.Ended = 0 }
	l.Connection(report(several(2), deny, begun))
	l.pass(2 * time.Minute)
	l.Connection(report(several(2), deny, end))
	l.pass(2 * time.Second)
	if d := cmp.Diff([]string{"violation deny by web (deny, -) x2 1100 bytes at 10"}, kept(t, l)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
