package agent

import (
	"context"
	"time"

	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/backoff"
	"github.com/sluicenet/sluice/internal/specstore"
)

// rewatch is the approximate delay after a broken policy watch; the store itself has retried before.
const rewatch = time.Second

// relogAfter is how long the same error is not logged again.
const relogAfter = 30 * time.Second

// watchPolicy compiles and forwards each policy that the store has for the node, until ctx ends. An unusable
// one is logged and the previous one stays in force.
func (a *Agent) watchPolicy(ctx context.Context, to chan<- *policy.Table) {
	said, when := "", time.Time{}
	again := backoff.Backoff{First: rewatch, Last: rewatch}
	for ctx.Err() == nil {
		for spec, err := range specstore.Watch(ctx, a.cfg.Store, a.cfg.Node) {
			if err != nil {
				if text := err.Error(); text != said || time.Since(when) > relogAfter {
					said, when = text, time.Now()
					a.log.Error("policy not read, previous one stays in force", "error", err)
				}
				continue
			}
			a.seen.Store(spec.Version)
			if !a.guard.admits(spec) {
				a.report.notify()
				continue
			}
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
			a.guard.enforce(spec)
			a.kept.offer(spec)
		}
		again.Wait(ctx)
	}
}
