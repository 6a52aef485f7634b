package controller_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// TestLearnNothingForProtected: what a workload in discover mode sees of a connection to one that
// is protected or monitored, or from one, teaches no rule: one refused attempt would let the next
// one through.
func TestLearnNothingForProtected(t *testing.T) {
	for _, mode := range []controlv1.Mode{controlv1.Mode_MODE_PROTECT, controlv1.Mode_MODE_MONITOR} {
		t.Run(mode.String(), func(t *testing.T) {
			l := newLab(t)
			l.shop("n1")
			l.learned("n1")
			before := seen("web", true, "10.7.0.2", "10.7.0.4", 6379, app.Redis, flow.Learn)
			time.Sleep(time.Millisecond)
			must[*controlv1.SetModeResponse](t)(l.control.SetMode(t.Context(), &controlv1.SetModeRequest{Groups: []string{"db"}, Mode: mode}))
			time.Sleep(time.Millisecond)
			l.report("n1", 2,
				seen("web", true, "10.7.0.2", "10.7.0.4", 22, app.SSH, flow.Learn),  // to it
				seen("web", false, "10.7.0.4", "10.7.0.2", 22, app.SSH, flow.Learn), // from it
				before, // began when the group still learned; the report was under way
			)
			restarted := append(append([]string{}, shopRules...), "10006 svc:default/web>svc:default/db tcp/6379 redis allow learned")
			if d := cmp.Diff(restarted, l.rules()); d != "" {
				t.Fatalf("rules (-want +got):\n%s", d)
			}
			l.restart()
			l.report("n1", 3, seen("web", true, "10.7.0.2", "10.7.0.4", 23, app.Telnet, flow.Learn))
			if d := cmp.Diff(restarted, l.rules()); d != "" {
				t.Fatalf("rules after a restart (-want +got):\n%s", d)
			}
		})
	}
}
