package agent

import (
	"context"
	"time"

	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/backoff"
	"github.com/sluicenet/sluice/internal/specstore"
)

// rewatch is about how long to wait after a policy watch broke: the store has retried by itself before.
const rewatch = time.Second

// sayAgain is how long the same error is not told again.
const sayAgain = 30 * time.Second

// watchPolicy compiles each policy that the store has for the node and passes it on, until ctx ends.
// One that cannot be used is logged and the one before stays in force.
func (a *Agent) watchPolicy(ctx context.Context, to chan<- *policy.Table) {
	said, when := "", time.Time{}
	again := backoff.Backoff{First: rewatch, Last: rewatch}
	for ctx.Err() == nil {
		for spec, err := range specstore.Watch(ctx, a.cfg.Store, a.cfg.Node) {
			if err != nil {
				if text := err.Error(); text != said || time.Since(when) > sayAgain {
					said, when = text, time.Now()
					a.log.Error("policy not read, the one before stays in force", "error", err)
				}
				continue
			}
			a.seen.Store(spec.Version)
			table, err := policy.Compile(spec)
			if err != nil {
				a.log.Error("policy refused", "version", spec.Version, "error", err)
				continue
			}
			select {
			case to <- table:
			case <-ctx.Done():
				return
			}
			a.kept.offer(spec)
		}
		again.Wait(ctx)
	}
}
