package detect

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// sink is the parser's interface to an Ident.
type sink struct{ d *Ident }

// App implements parsers.Sink.
func (s *sink) App(id app.ID) {
	if s.d.outcome != Decided {
		s.d.riding = id
	}
}

// Attr implements parsers.Sink.
func (s *sink) Attr(a parsers.Attr, v []byte) { s.d.Attrs.set(a, v) }

// Threat implements parsers.Sink.
func (s *sink) Threat(id uint16, text string) {
	if s.d.OnThreat != nil {
		s.d.OnThreat(id, text)
	}
}

var _ parsers.Sink = (*sink)(nil)
