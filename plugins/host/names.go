package host

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/internal/backoff"
)

// Numbers assigns numbers to the applications of plugins.
type Numbers interface {
	// ID returns the permanent number of a name. An error means that there is none yet; the host retries. It
	// must be safe for concurrent use.
	ID(ctx context.Context, name string) (app.ID, error)
}

// ownNumbers assigns numbers for this process alone.
type ownNumbers struct{}

// ID implements Numbers.
func (ownNumbers) ID(_ context.Context, name string) (app.ID, error) {
	if err := app.CheckName(name); err != nil {
		return app.Unknown, err
	}
	for attempt := range 1024 {
		if id, err := app.Parse(name); err == nil {
			return id, nil
		}
		if id := app.Suggest(name, attempt); app.Give(name, id) == nil {
			return id, nil
		}
	}
	return app.Unknown, fmt.Errorf("application %s: no number is free", name)
}

// numberRetry is the delay after a name got no number.
const numberRetry = time.Second

// assignNumbers requests the missing numbers of a plugin's names, until all have one or its run ends.
func (p *process) assignNumbers(ctx context.Context, l *live) {
	again := backoff.Backoff{First: numberRetry, Last: numberRetry}
	for len(l.nameless) > 0 {
		if !again.Wait(ctx) {
			return
		}
		var rest []protocol
		apps := map[app.ID]app.ID{}
		for own, id := range *l.apps.Load() {
			apps[own] = id
		}
		for _, x := range l.nameless {
			id, err := p.h.cfg.Numbers.ID(ctx, x.name)
			if err != nil {
				rest = append(rest, x)
				continue
			}
			apps[x.own] = id
			p.log.Info("application numbered", "application", x.name)
		}
		l.nameless = rest
		l.apps.Store(&apps)
	}
}
