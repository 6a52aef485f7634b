package nfqueue

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strconv"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/netns"
)

// procQueues lists the queues of the namespace of the thread that opens it, one per line.
const procQueues = "/proc/thread-self/net/netfilter/nfnetlink_queue"

// Its columns (net/netfilter/nfnetlink_queue.c, seq_show).
const (
	colNumber  = 0
	colWaiting = 2 // for a verdict
	colFull    = 5 // dropped because too many waited
	colCount   = 9
)

// Positions in SO_MEMINFO (linux/sock_diag.h).
const (
	memAlloc = 0 // SK_MEMINFO_RMEM_ALLOC
	memLimit = 1 // SK_MEMINFO_RCVBUF
	memWords = 9 // SK_MEMINFO_VARS
)

var _ backend.Gauge = (*queue)(nil)

// listed is a queue in the kernel's list.
type listed struct{ waiting, full uint64 }

// readListed finds a queue in the kernel's list; zero where it is missing or the list cannot
// be read.
func (s *space) readListed(num uint16) listed {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs <= 0 {
		return listed{}
	}
	if s.proc == nil {
		// The list stays that of the namespace in which it was opened.
		_ = netns.Do(s.path, func() (err error) {
			s.proc, err = os.Open(procQueues)
			return err
		})
		if s.proc == nil {
			return listed{}
		}
	}
	if _, err := s.proc.Seek(0, io.SeekStart); err != nil {
		return listed{}
	}
	text, err := io.ReadAll(io.LimitReader(s.proc, 1<<20))
	if err != nil {
		return listed{}
	}
	return find(text, num)
}

// has reports whether a queue is in the kernel's list, which has those that a process reads.
func has(text []byte, num uint16) bool {
	for line := range bytes.Lines(text) {
		if f := bytes.Fields(line); len(f) >= colCount && string(f[colNumber]) == strconv.Itoa(int(num)) {
			return true
		}
	}
	return false
}

// find reads one queue's line.
func find(text []byte, num uint16) listed {
	for line := range bytes.Lines(text) {
		f := bytes.Fields(line)
		if len(f) < colCount {
			continue
		}
		if n, err := strconv.ParseUint(string(f[colNumber]), 10, 16); err != nil || uint16(n) != num {
			continue
		}
		waiting, _ := strconv.ParseUint(string(f[colWaiting]), 10, 64)
		full, _ := strconv.ParseUint(string(f[colFull]), 10, 64)
		return listed{waiting, full}
	}
	return listed{}
}

// closeList is called with the lock held when the space is closed.
func (s *space) closeList() {
	if s.proc != nil {
		_ = s.proc.Close()
		s.proc = nil
	}
}

// Depth implements backend.Gauge: packets that wait for a verdict, and how much of the room
// for messages is in use.
func (q *queue) Depth() backend.Depth {
	if q.ended() {
		return backend.Depth{}
	}
	d := backend.Depth{Waiting: q.space.readListed(q.io.src.num).waiting}
	if m, err := meminfo(q.io.src); err == nil && m[memLimit] > 0 {
		d.Fill = min(1, float64(m[memAlloc])/float64(m[memLimit]))
	}
	return d
}

// ended reports whether the queue was closed.
func (q *queue) ended() bool {
	q.gate.mu.Lock()
	defer q.gate.mu.Unlock()
	return q.gone
}

// Stats implements backend.Counter.
func (q *queue) Stats() backend.Stats {
	s := backend.Stats{Received: q.n.received.Load(), Sent: q.n.sent.Load(), SendDrop: q.n.sendDrop.Load() + q.n.refused.Load()}
	// The numbers of packets without room for their message are missing.
	if lost := q.n.dropped.Load(); q.ep.Fail == backend.FailOpen {
		s.Bypassed = lost
	} else {
		s.Dropped = lost
	}
	if !q.ended() {
		q.n.full.Store(max(q.n.full.Load(), q.space.readListed(q.io.src.num).full))
	}
	s.Full = q.n.full.Load()
	return s
}

// meminfo reads the memory of a queue's socket.
func meminfo(src *source) (m memory, err error) {
	cerr := src.conn.Control(func(fd uintptr) { err = m.read(fd) })
	return m, errors.Join(cerr, err)
}
