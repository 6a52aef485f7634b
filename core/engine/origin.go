package engine

import (
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
)

// destination is where a connection that was redirected to a sidecar was bound for.
type destination struct {
	addr  packet.Addr
	port  uint16
	tries uint8
	known bool
	// client is whom the session is reported as; valid with blamed.
	client packet.Addr
	blamed bool
}

// maxTraces is how many packets of a connection are tried before it counts as of unknown destination.
const maxTraces = 3

// trace finds the real destination of a session between an application and its sidecar, once.
// Its map is looked at for such sessions only.
func (w *worker) trace(l *look) {
	s := l.s
	d := w.origins[s.ID]
	if l.v.mesh != nil && !translated(s) {
		d.addr, d.port = s.Server()
		d.known = true
	} else if w.origin != nil {
		d.addr, d.port, d.known = w.origin.Original(l.f, l.p)
	}
	switch {
	case d.known:
		w.count.traced++
		s.Flags |= flagTraced
	case l.p.Flags&(packet.SYN|packet.ACK) == packet.SYN:
		return // too early to know
	default:
		if d.tries++; d.tries >= maxTraces || w.origin == nil {
			w.count.untraced++
			s.Flags |= flagTraced
		}
	}
	if w.origins == nil {
		w.origins = map[uint64]destination{}
	}
	w.origins[s.ID] = d
	if s.Flags&flagTraced != 0 {
		s.Verdict = uint8(flow.NoVerdict)
	}
}

// server is the server's address and port as policy and people know it.
func (w *worker) server(s *session.Session) (packet.Addr, uint16) {
	if s.Flags&flagTraced != 0 {
		if d := w.origins[s.ID]; d.known {
			return d.addr, d.port
		}
	}
	return s.Server()
}

// translated says whether a session on lo goes to a sidecar in the place of somebody else. What
// a sidecar says to its application goes where it is bound for.
func translated(s *session.Session) bool {
	client, _ := s.Client()
	server, _ := s.Server()
	return local(server, s.Key.IPv6) && !local(client, s.Key.IPv6)
}

// client is the client's address as people know it.
func (w *worker) client(s *session.Session) (packet.Addr, uint16) {
	if s.Flags&flagTraced != 0 {
		if d := w.origins[s.ID]; d.blamed {
			return d.client, 0
		}
	}
	return s.Client()
}

// redirected is the decision about a session on lo for which policy cannot be asked: its
// destination is not known yet, or it cannot be found out. ok is false where policy can.
func (w *worker) redirected(v *view, s *session.Session, q *policy.Query) (d policy.Decision, ok bool) {
	switch {
	case s.Flags&flagTraced == 0:
		return policy.Decision{Verdict: flow.Pending}, true
	case w.origins[s.ID].known && s.Dir == packet.Ingress && local(q.Peer, q.IPv6):
		return w.delivered(v, s, q), true
	case w.origins[s.ID].known:
		return policy.Decision{}, false
	case v.pass == packet.Drop:
		return policy.Decision{Verdict: flow.Deny, Reason: flow.ByUnready}, true
	}
	return policy.Decision{Verdict: flow.Open, Reason: flow.ByFailOpen}, true
}
