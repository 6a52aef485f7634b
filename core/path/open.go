package path

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/core/session"
)

// heldOpen has the sessions of an endpoint that sockets of its workload hold open.
type heldOpen map[session.Key]struct{}

// Held updates the sessions of an endpoint by its workload's open sockets: a connection of
// which no packet was seen becomes a session like any other, those that are known do not end
// for being silent, and a silent one ends with its socket. opened are connections open since
// before they could be seen; known are others, which become no sessions.
func (ss *Sessions) Held(endpoint uint32, opened, known []role.Tuple) {
	ss.refresh()
	v := ss.views.view(endpoint)
	if v == nil || v.Loopback {
		return
	}
	next := make(heldOpen, len(opened)+len(known))
	for i := range opened {
		ss.hold1(v, &opened[i], next, true)
	}
	for i := range known {
		ss.hold1(v, &known[i], next, false)
	}
	for k := range ss.held[endpoint] {
		if _, still := next[k]; !still {
			ss.socketClosed(endpoint, &k)
		}
	}
	ss.setHeld(endpoint, next)
}

// setHeld stores which sessions of an endpoint sockets hold open.
func (ss *Sessions) setHeld(endpoint uint32, h heldOpen) {
	if len(h) == 0 {
		delete(ss.held, endpoint)
		return
	}
	if ss.held == nil {
		ss.held = map[uint32]heldOpen{}
	}
	ss.held[endpoint] = h
}

// hold1 records that a socket holds a connection open.
func (ss *Sessions) hold1(v *View, t *role.Tuple, next heldOpen, insert bool) {
	k, swapped := keyOfTuple(t, v.number())
	s := ss.table.Lookup(&k)
	switch {
	case s == nil && !insert, s != nil && (s.State.Over() || s.Flags&session.Denied != 0):
		return
	case s == nil:
		if s = ss.insertOpen(v, &k, t, swapped); s == nil {
			return
		}
	default:
		ss.confirm(v, s, t)
	}
	next[k] = struct{}{}
}

// keyOfTuple returns the session key of a workload's connection; swapped is true if the
// workload's end is B.
func keyOfTuple(t *role.Tuple, workload uint32) (k session.Key, swapped bool) {
	p := packet.Packet{Src: t.Local, Dst: t.Remote, SrcPort: t.LocalPort, DstPort: t.RemotePort, Proto: t.Proto, IPv6: !t.Local.Netip().Is4()}
	return session.KeyOf(&p, workload)
}

// insertOpen inserts the session of a connection of which no packet was seen, and judges it.
func (ss *Sessions) insertOpen(v *View, k *session.Key, t *role.Tuple, swapped bool) *session.Session {
	s := ss.table.Insert(k, ss.now)
	if s == nil {
		ss.out.count[counter.TableFull]++
		return nil
	}
	c := ss.roleContext(v)
	f := c.Held(t)
	s.ID, s.Endpoint = ss.views.shared.IDs.Add(1), v.ID
	s.App, s.Base = uint16(app.Undecided), uint16(app.Undecided)
	s.Evidence = f.Evidence
	s.ClientIsA = (f.Side == role.Client) != swapped
	s.Dir = packet.Ingress
	if f.Side == role.Client {
		s.Dir = packet.Egress
	}
	s.AssumeOpen()
	s.Marks |= session.HeldOpen | session.Changed | session.Plausible
	if s.Key.Proto == packet.ProtoTCP {
		s.Marks |= session.Quiet
	}
	if !f.Firm {
		s.Marks |= session.Either
	}
	if v.enforced() && ss.cfg.KeepOpen {
		s.Marks |= session.Kept
	}
	ss.out.count[counter.Opened]++
	n := ss.out.tally(v)
	n.n[atOpened]++
	n.n[atSessions]++
	ss.table.Schedule(s, ss.now+startAfter)
	ss.evaluate(v, s)
	ss.refuseOpen(v, s)
	ss.announce(s)
	return s
}

// confirm records that a known session is held open by a socket.
func (ss *Sessions) confirm(v *View, s *session.Session, t *role.Tuple) {
	if s.Marks&session.HeldOpen != 0 {
		return
	}
	s.Marks |= session.HeldOpen
	if s.Key.Proto == packet.ProtoTCP && s.Flags&(session.Midstream|session.Answered) == session.Midstream {
		s.Flags |= session.Answered
		s.Marks |= session.Changed
	}
	if s.Flags&session.Midstream != 0 && s.Evidence < flow.EvidenceSocket {
		c := ss.roleContext(v)
		ss.raise(v, s, c.Held(t))
	}
}

// socketClosed records that the socket of a session is closed, as an endpoint has it no more.
func (ss *Sessions) socketClosed(endpoint uint32, k *session.Key) {
	for id, h := range ss.held {
		if _, still := h[*k]; still && id != endpoint {
			return // its route has moved to another interface
		}
	}
	s := ss.table.Lookup(k)
	if s == nil || s.Marks&session.HeldOpen == 0 {
		return
	}
	if s.Silent() && s.Flags&session.Denied == 0 {
		ss.finish(s)
		ss.table.Delete(s)
		return
	}
	s.Marks &^= session.HeldOpen
	ss.table.Schedule(s, max(s.Last+ss.table.Timeout(s), ss.now+updateEvery))
}

// supersedes reports whether a packet begins a connection in the place of one that sockets
// showed: both were read at the same time.
func supersedes(s *session.Session, p *packet.Packet) bool {
	return s.Marks&session.HeldOpen != 0 && s.Silent() && p.Proto == packet.ProtoTCP && p.Flags&(packet.SYN|packet.ACK|packet.RST) == packet.SYN
}

// stays reports whether a session does not end by its time-out, as a socket holds it open.
func stays(s *session.Session) bool {
	return s.Marks&session.HeldOpen != 0 && s.Flags&session.Denied == 0 && !s.State.Over() && !s.Doubtful()
}
