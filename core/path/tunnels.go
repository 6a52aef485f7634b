package path

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// tunnelKeep is how many tunnels of each direction are remembered.
const tunnelKeep = 1024

// tunnels pairs the sessions of protocols whose directions are sessions of their own
// (app.ID.OneWay): one is answered when the other end sends sessions of the same protocol to
// the same port. It has the session named or seen last of each tunnel, by its direction, so
// that a flood of forged sessions to a workload displaces none that the workload sent.
type tunnels [2]map[tunnelKey]uint32

// tunnelKey is a tunnel from the point of view of its workload.
type tunnelKey struct {
	workload  uint32
	own, peer packet.Addr
	port      uint16 // of both ends
	app       uint16
	ipv6      bool
}

// tunnelOf returns a session's tunnel, and the index of its direction.
func tunnelOf(s *session.Session) (k tunnelKey, dir int) {
	k = tunnelKey{workload: s.Key.Workload, app: s.App, ipv6: s.Key.IPv6}
	k.own, _ = s.Client()
	k.peer, k.port = s.Server()
	if s.Dir == packet.Egress {
		return k, 0
	}
	k.own, k.peer = k.peer, k.own
	return k, 1
}

// pair marks a session of a tunnel, and the session of the tunnel's other direction, as
// answered where both are alive. It does nothing for other sessions.
func (l *lifecycle) pair(s *session.Session) {
	if !app.ID(s.App).OneWay() || s.Dir == packet.NoDirection || s.Flags&session.Answered != 0 || dead(s) {
		return
	}
	k, dir := tunnelOf(s)
	l.tunnels.remember(dir, k, l.table.Ref(s))
	other := l.table.At(l.tunnels[1-dir][k])
	if other == nil || dead(other) {
		return
	}
	if ok, odir := tunnelOf(other); ok != k || odir == dir {
		return // the handle is another session's by now
	}
	for _, t := range [...]*session.Session{s, other} {
		if t.Flags&session.Answered == 0 {
			t.Flags |= session.Answered
			t.Marks |= session.Changed
		}
	}
}

// dead reports whether a session was refused or has ended.
func dead(s *session.Session) bool {
	return s.Flags&session.Denied != 0 || s.Verdict == flow.Deny || s.State.Over()
}

// remember stores a session's handle. A full map is replaced by an empty one: sessions enter it again with
// their timer.
func (t *tunnels) remember(dir int, k tunnelKey, ref uint32) {
	m := t[dir]
	if _, ok := m[k]; !ok && len(m) >= tunnelKeep || m == nil {
		m = make(map[tunnelKey]uint32)
		t[dir] = m
	}
	m[k] = ref
}
