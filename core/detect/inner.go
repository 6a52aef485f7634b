package detect

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// carried identifies what an upgraded session carries. The session's own application is final; what it carries
// is reported by attributes.
type carried struct {
	ident *Ident // kept for later sessions
	on    bool   // the session was upgraded: its bytes are the ident's
}

// begin begins to identify what a session carries from here on.
func (c *carried) begin(reg *parsers.Registry, m parsers.Meta) {
	m.Midstream = false
	if c.ident == nil {
		c.ident = &Ident{}
	}
	c.ident.Reset(reg, m)
	c.ident.nested, c.ident.header.past = true, true
	c.on = true
}

// report adds what was found to the session's attributes, and reports whether identification ended.
func (c *carried) report(to *Attrs) (ended bool) {
	in := c.ident
	if in.outcome == Decided && in.App != app.Unknown {
		to.set(parsers.Inner, []byte(in.App.Name()))
		for i := range in.Attrs.Len() {
			to.set(in.Attrs.keys[i], []byte(in.Attrs.values[i]))
		}
	}
	return in.ended
}

// Upgraded reports whether the session carries another protocol now: bytes of the other direction that the
// first protocol's parser left are to be passed again.
func (d *Ident) Upgraded() bool { return d.carried.on }
