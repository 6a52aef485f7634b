package agent

import (
	"context"
	"time"

	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/specstore"
)

// rewatch is how long to wait after a policy watch broke.
const rewatch = time.Second

// watchPolicy compiles each policy that the store has for the node and passes it on, until ctx ends.
// One that cannot be used is logged and the one before stays in force.
func (a *Agent) watchPolicy(ctx context.Context, to chan<- *policy.Table) {
	for ctx.Err() == nil {
		for spec, err := range specstore.Watch(ctx, a.cfg.Store, a.cfg.Node) {
			if err != nil {
				a.log.Warn("policy not read", "error", err)
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
		select {
		case <-time.After(rewatch):
		case <-ctx.Done():
		}
	}
}
