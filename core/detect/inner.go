package detect

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// upgrade begins to identify what the session carries from here on. The session's own application is final; what it
// carries is reported by attributes.
func (d *Ident) upgrade() {
	m := *d.meta(d.flip)
	m.Midstream = false
	d.Close()
	if d.inner == nil {
		d.inner = &Ident{}
	}
	d.inner.Reset(d.reg, m)
	d.inner.nested, d.inner.begun = true, true
	d.carries = true
}

// carried passes bytes to the identification of what the session carries.
func (d *Ident) carried(dir parsers.Dir, data []byte) (used int) {
	d.inner.OnThreat = d.OnThreat
	used = d.inner.Data(dir^d.flip, data)
	d.adopt()
	return used
}

// adopt takes over what was found in a carried protocol.
func (d *Ident) adopt() {
	in := d.inner
	if in.outcome == Decided && in.App != app.Unknown {
		d.Attrs.set(parsers.Inner, []byte(in.App.Name()))
		for i := range in.Attrs.Len() {
			d.Attrs.set(in.Attrs.keys[i], []byte(in.Attrs.values[i]))
		}
	}
	if in.ended {
		d.finish()
	}
}

// Upgraded reports whether the session carries another protocol now: bytes of the other direction that the
// first protocol's parser left are to be passed again.
func (d *Ident) Upgraded() bool { return d.carries }
