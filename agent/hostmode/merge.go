package hostmode

import (
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// firstDynamic is the first ephemeral port (net.ipv4.ip_local_port_range).
const firstDynamic = 32768

// merge merges a listing into the table. w.mu is held, except while processes are searched.
func (w *Watcher) merge(s *space, r *reading) {
	w.processes(s, r)
	first := s.listed == 0
	s.listed++
	if first {
		s.opens = r.opens
	}
	s.own = r.own
	w.sources.deleteExpired(time.Now(), w.spaces)
	clear(s.listeners)
	for l, ino := range r.listeners {
		s.listeners[l] = s.pids[ino]
	}
	m := listing{w: w, s: s, first: first, stamp: time.Now().UnixNano(), suspects: map[tuple]bool{}}
	for i := range r.sockets {
		m.addSocket(&r.sockets[i])
	}
	s.suspects = m.suspects
	for k, c := range w.table.conns {
		// Events since the previous listing may not be in this one yet.
		if k.space == s.ino && c.listed < s.listed && (c.born < s.listed-1 || !s.traced) {
			state := flow.PhaseClosed
			if c.state == flow.PhaseOpening {
				state = flow.PhaseOpening
			}
			w.endConn(k, c, state, m.stamp)
		}
	}
	s.missed = less(r.opens-s.opens, s.seen)
}

// processes finds the processes of new sockets, by inode. w.mu is held, and released meanwhile.
func (w *Watcher) processes(s *space, r *reading) {
	pids, unknown := map[uint32]uint32{}, map[uint32]uint32{}
	want := func(inode uint32) {
		if pid, ok := s.pids[inode]; ok {
			pids[inode] = pid
		} else if inode != 0 {
			unknown[inode] = 0
		}
	}
	for _, inode := range r.listeners {
		want(inode)
	}
	for i := range r.sockets {
		if _, known := w.table.conns[r.sockets[i].tuple]; !known {
			want(r.sockets[i].inode)
		}
	}
	if len(unknown) > 0 {
		w.mu.Unlock()
		socketOwners(s.ino, unknown)
		w.mu.Lock()
	}
	for inode, pid := range unknown {
		pids[inode] = pid
	}
	s.pids = pids
}

// listing is one merge.
type listing struct {
	w        *Watcher
	s        *space
	first    bool
	stamp    int64
	suspects map[tuple]bool
}

// addSocket merges one socket. The watcher's lock is held.
func (m *listing) addSocket(x *socket) {
	w, s := m.w, m.s
	c, known := w.table.conns[x.tuple]
	if !known {
		m.found(x)
		return
	}
	c.listed = s.listed
	switch {
	case c.over:
	case x.state == timeWait:
		c.state, c.last = flow.PhaseClosed, m.stamp
		w.record(&x.tuple, &c, flow.End)
		c.over = true
	case x.now != totals{} && x.now != c.now:
		c.now, c.last = x.now, m.stamp
		if c.state == flow.PhaseOpening && x.state != synSent {
			c.state, c.answered = flow.PhaseEstablished, true
		}
		w.record(&x.tuple, &c, flow.Update)
	}
	w.table.conns[x.tuple] = c
}

// found handles a socket that is not in the table.
func (m *listing) found(x *socket) {
	w, s := m.w, m.s
	if x.proto == packet.ProtoTCP && s.traced && !m.first && !s.suspects[x.tuple] {
		// The tracepoint reports it soon; if it has not by the next listing, its event was lost.
		m.suspects[x.tuple] = true
		return
	}
	_, listens := s.listeners[listener{x.proto, x.localPort}]
	c := conn{first: m.stamp, last: m.stamp, client: !listens, answered: x.state != synSent, evidence: flow.EvidenceListener, now: x.now,
		midstream: x.proto == packet.ProtoTCP && (m.first || s.traced)}
	switch {
	case x.proto == packet.ProtoUDP:
		c.client, c.answered = !listens || x.localPort >= firstDynamic, false
	case x.state == synSent:
		c.client, c.state = true, flow.PhaseOpening
	default:
		c.state = flow.PhaseEstablished
	}
	if m.first && x.state == timeWait { // it ended before the watch began
		m.remember(x, conn{})
		return
	}
	c, ours := w.begin(s, x.tuple, c, w.processOfSocket(s, x))
	switch {
	case !ours:
		m.remember(x, conn{})
	case x.state == timeWait:
		c.state = flow.PhaseClosed
		w.record(&x.tuple, &c, flow.End)
		m.remember(x, c)
	}
}

// remember keeps a connection that is already reported while it is listed.
func (m *listing) remember(x *socket, c conn) {
	c.over, c.listed, c.born = true, m.s.listed, m.s.listed
	if len(m.w.table.conns) < m.w.table.max {
		m.w.table.conns[x.tuple] = c
	}
}

// processOfSocket returns the process of a socket: its owner, or the listener on its port.
func (w *Watcher) processOfSocket(s *space, x *socket) *process {
	pid := s.pids[x.inode]
	if pid == 0 || x.inode == 0 {
		pid = s.listeners[listener{x.proto, x.localPort}]
	}
	if pid == 0 {
		return nil
	}
	return w.owners.byPid(pid)
}
