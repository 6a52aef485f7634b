package detect

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// SoFar returns the application and base that End would set now.
func (d *Ident) SoFar() (a, base app.ID) {
	switch {
	case d.outcome == Decided:
		return d.App, d.Base
	case d.winner >= 0 && d.riding != app.Unknown:
		return d.riding, d.Base
	case d.winner >= 0:
		return d.Base, d.Base
	}
	if best, i := d.cands.best(); best >= parsers.Likely {
		e := d.cands.reg.Entry(i)
		return e.ID, e.ID
	}
	return app.Unknown, app.Unknown
}
