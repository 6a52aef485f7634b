package detect

import (
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/parsers"
)

// maxValue is the length at which attribute values are cut.
const maxValue = 256

// maxAttrs is the maximum number of attributes of one session.
const maxAttrs = 16

// Attrs is the attributes that a parser reported for one session; the first value of each is
// kept.
type Attrs struct {
	keys    [maxAttrs]parsers.Attr
	values  [maxAttrs]string
	n       int
	changed bool
}

// reset removes all attributes; the next Detail reports the change if there were any.
func (a *Attrs) reset() {
	clear(a.values[:a.n])
	a.n, a.changed = 0, a.n > 0
}

func (a *Attrs) set(key parsers.Attr, value []byte) {
	if key == parsers.NoAttr || len(value) == 0 || a.n == maxAttrs {
		return
	}
	for _, k := range a.keys[:a.n] {
		if k == key {
			return
		}
	}
	a.keys[a.n] = key
	a.values[a.n] = string(value[:min(len(value), maxValue)])
	a.n++
	a.changed = true
}

// Set adds an attribute that was reported elsewhere, as if this session's parser had reported
// it.
func (a *Attrs) Set(key parsers.Attr, value []byte) { a.set(key, value) }

// Len returns the number of attributes.
func (a *Attrs) Len() int { return a.n }

// At returns one of them, in the order of their reports.
func (a *Attrs) At(i int) (parsers.Attr, string) { return a.keys[i], a.values[i] }

// Detail returns a copy of the attributes if they changed since the last call, else nil.
func (a *Attrs) Detail() *flow.Detail {
	if !a.changed {
		return nil
	}
	a.changed = false
	d := &flow.Detail{Attrs: make([]flow.Pair, a.n)}
	for i := range d.Attrs {
		d.Attrs[i] = flow.Pair{Key: a.keys[i].String(), Value: a.values[i]}
	}
	return d
}
