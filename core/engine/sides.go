package engine

import (
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/session"
)

// sides raises the evidence of who the client is from ports to the protocol, and exchanges client and server where the
// ports were wrong.
func (w *worker) sides(v *view, s *session.Session, id *ident) {
	s.Evidence = uint8(flow.EvidenceProtocol)
	s.Flags |= flagChanged
	if id.Side() != detect.Exchanged {
		return
	}
	s.SwapClient()
	id.Exchange()
	id.dirs[0], id.dirs[1] = id.dirs[1], id.dirs[0]
	id.far.sent[0], id.far.sent[1] = id.far.sent[1], id.far.sent[0]
	id.far.flip = id.far.flip.Reverse()
	w.evaluate(v, s)
}

// follow has a packet in hand follow its session, whose client was A or not before.
func (l *look) follow(clientIsA bool) {
	if l.s.ClientIsA != clientIsA {
		l.dir ^= 1
	}
}
