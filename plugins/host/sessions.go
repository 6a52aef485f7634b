package host

import (
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/plugins/wire"
)

// maxLogs bounds the bytes of sessions that a worker keeps, for plugins that are starting and for sessions
// that move to another worker.
const maxLogs = 64 << 20

// sessions are those of one worker that plugins identify.
type sessions struct {
	by     map[uint64]*entry // by number
	free   []*entry
	last   uint64
	logs   int             // bytes of all entries' logs
	parked int             // parts that wait for a plugin to start
	open   map[*entry]bool // with a claim that waits for other plugins
}

func newSessions() sessions { return sessions{by: map[uint64]*entry{}, open: map[*entry]bool{}} }

// entry is one session.
type entry struct {
	number    uint64
	owner     uint32
	seen      uint32 // calls of Data
	spoke     [2]bool
	gone      bool // the log is incomplete
	ending    bool
	begun     bool        // its beginning was sent to the plugins
	parts     []part      // of its plugins, in order
	forwarded detect.News // what was forwarded last while undecided
	winner    int         // index of the part whose claim is the session's; -1 before
	log       []byte      // every record so far
}

// part is the answer of one plugin about a session.
type part struct {
	link  *link
	state partState
	news  detect.News
	at    uint64    // the link's position after the session's last record
	kept  []finding // findings before it was chosen
}

type partState uint8

const (
	settled partState = iota // no more answers follow
	parked                   // waits for the plugin to start
	asking                   // the plugin identifies it
)

// finding is an attribute or a threat.
type finding struct {
	kind wire.Kind
	arg  uint8
	body []byte
}

// of returns the session's part for a link; nil if there is none.
func (e *entry) of(k *link) *part {
	for i := range e.parts {
		if e.parts[i].link == k {
			return &e.parts[i]
		}
	}
	return nil
}

// write sends a record to the session's plugins. It is urgent while the session is unidentified.
func (e *entry) write(rec []byte) {
	named := e.winner >= 0 && e.parts[e.winner].news.Outcome == detect.Decided
	urgent := !named && wire.Kind(rec[0]) != wire.Close
	for i := range e.parts {
		if pt := &e.parts[i]; pt.state == asking {
			k := pt.link
			k.write(rec)
			k.urgent = k.urgent || urgent
			pt.at = k.pos
		}
	}
}

// fresh returns an empty entry with room for some parts.
func (s *sessions) fresh(owner uint32, parts int) *entry {
	var e *entry
	if n := len(s.free); n > 0 {
		e, s.free = s.free[n-1], s.free[:n-1]
	} else {
		e = &entry{parts: make([]part, 0, parts)}
	}
	*e = entry{owner: owner, parts: e.parts[:0], winner: -1, log: e.log[:0]}
	return e
}

// recycle keeps an entry for another session.
func (s *sessions) recycle(e *entry) {
	if cap(e.log) > 4096 {
		e.log = nil
	}
	e.log = e.log[:0]
	if len(s.free) < 1024 {
		s.free = append(s.free, e)
	}
}

// add numbers a session.
func (s *sessions) add(e *entry) {
	s.last++
	e.number = s.last
	s.by[e.number] = e
}

// log adds a record to a session's log, which is incomplete from then on if there is no room.
func (s *sessions) log(e *entry, rec []byte) {
	if s.logs+len(rec) > maxLogs {
		e.gone = true
		return
	}
	e.log = append(e.log, rec...)
	s.logs += len(rec)
}

// settlePart ends a part.
func (s *sessions) settlePart(pt *part) {
	if pt.state == settled {
		return
	}
	if pt.state == parked {
		s.parked--
	}
	pt.state = settled
	pt.link.p.busy.Add(-1)
}

// drop deletes a session.
func (s *sessions) drop(e *entry) {
	for i := range e.parts {
		s.settlePart(&e.parts[i])
	}
	delete(s.by, e.number)
	delete(s.open, e)
	s.logs -= len(e.log)
	s.recycle(e)
}

// clear deletes all sessions.
func (s *sessions) clear() {
	for _, e := range s.by {
		for i := range e.parts {
			s.settlePart(&e.parts[i])
		}
	}
	clear(s.by)
	clear(s.open)
}

// any reports whether any session's part of a link is in a state.
func (s *sessions) any(k *link, state partState) bool {
	for _, e := range s.by {
		if pt := e.of(k); pt != nil && pt.state == state {
			return true
		}
	}
	return false
}
