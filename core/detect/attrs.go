package detect

import (
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/parsers"
)

// maxValue cuts attribute values.
const maxValue = 256

// maxAttrs is how many attributes one session keeps.
const maxAttrs = 12

// Attrs is what a parser told of one session; the first value of each attribute is kept.
type Attrs struct {
	keys    [maxAttrs]parsers.Attr
	values  [maxAttrs]string
	n       int
	changed bool
}

// reset forgets all; the next Detail reports it if there was anything.
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

// Set keeps an attribute that was told elsewhere, as if the parser had told it here.
func (a *Attrs) Set(key parsers.Attr, value []byte) { a.set(key, value) }

// Len is how many attributes there are.
func (a *Attrs) Len() int { return a.n }

// At is one of them, in the order in which they were told.
func (a *Attrs) At(i int) (parsers.Attr, string) { return a.keys[i], a.values[i] }

// Detail is a copy of the attributes if they changed since the last call, else nil.
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
