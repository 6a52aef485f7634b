package engine

import (
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/sidecar"
)

// trace looks for the real destination of a session between an application and its sidecar, once.
func (w *worker) trace(l *look) {
	s := l.s
	found := sidecar.Lookup{Session: s.ID, Opening: l.p.Flags&(packet.SYN|packet.ACK) == packet.SYN, Last: w.origin == nil}
	m := w.meshed(l.v, s)
	if l.v.mesh != nil && !sidecar.Translated(&m.Key) {
		found.Addr, found.Port = s.Server()
		found.Known = true
	} else if w.origin != nil {
		found.Addr, found.Port, found.Known = w.origin.Original(l.f, l.p)
	}
	switch w.origins.Add(&found) {
	case sidecar.Found:
		w.count[counter.DestinationsFound]++
	case sidecar.Missing:
		w.count[counter.DestinationsUnknown]++
	default:
		return
	}
	s.Flags |= flagTraced
	s.Verdict = uint8(flow.NoVerdict)
}

// server is the server's address and port as policy and people know it.
func (w *worker) server(s *session.Session) (packet.Addr, uint16) {
	if s.Flags&flagTraced != 0 {
		if addr, port, ok := w.origins.Server(s.ID); ok {
			return addr, port
		}
	}
	return s.Server()
}

// client is the client's address as people know it.
func (w *worker) client(s *session.Session) (packet.Addr, uint16) {
	if s.Flags&flagTraced != 0 {
		if addr, ok := w.origins.Client(s.ID); ok {
			return addr, 0
		}
	}
	return s.Client()
}

// redirected is the decision about a session on lo for which policy cannot be asked as for any
// other. ok is false where it can.
func (w *worker) redirected(v *view, s *session.Session, q *policy.Query) (d policy.Decision, ok bool) {
	m := w.meshed(v, s)
	switch w.origins.Question(&m) {
	case sidecar.AskLater:
		return policy.Decision{Verdict: flow.Pending}, true
	case sidecar.AskClients:
		return w.delivered(v, &m, q), true
	case sidecar.AskPolicy:
		return policy.Decision{}, false
	}
	if v.pass == packet.Drop {
		return policy.Decision{Verdict: flow.Deny, Reason: flow.ByUnready}, true
	}
	return policy.Decision{Verdict: flow.Open, Reason: flow.ByFailOpen}, true
}
