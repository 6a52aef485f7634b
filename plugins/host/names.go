package host

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/internal/backoff"
)

// Numbers gives the applications that plugins name their numbers.
type Numbers interface {
	// ID is the number of a name, for good. An error means that there is none yet; the host asks again. It
	// is called from several goroutines.
	ID(ctx context.Context, name string) (app.ID, error)
}

// ownNumbers are the numbers of a process that shares them with nobody.
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

// askAgain is how long after a name got no number it is asked for again.
const askAgain = time.Second

// number asks for the numbers that names of a plugin lack, until there is none or its run is over.
func (p *process) number(ctx context.Context, l *live) {
	again := backoff.Backoff{First: askAgain, Last: askAgain}
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
			p.log.Info("application has its number", "application", x.name)
		}
		l.nameless = rest
		l.apps.Store(&apps)
	}
}
