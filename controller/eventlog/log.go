// Package eventlog keeps the newest events and hands them to readers. What the two ends of a
// connection report is joined into one event, events are released in the order of their time,
// and each has a cursor at which a reader can continue. It is memory only, bounded, and shared out
// among workloads, so that a noisy one cannot push out the events of others.
package eventlog

import (
	"container/list"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/filter"
)

// Config is how a Log works; zero values are defaults.
type Config struct {
	Events int           // kept: 50,000
	Bytes  int           // that they take: 64 MiB
	Hold   time.Duration // how long an event waits for the other end's report: 1.5 s
	Now    func() time.Time
}

// overhead is what an event takes beside its message, bytes.
const overhead = 512

// flushEvery is how often events that are due are released.
const flushEvery = 100 * time.Millisecond

// Entry is one event and what filters see of it.
type Entry struct {
	Event   *controlv1.Event // not changed any more once it is released
	Subject filter.Subject
	Share   string // the workload whose part of the bounds it takes

	seq      uint64
	size     int
	at, mine *list.Element
}

// share is what one workload has of the log.
type share struct {
	entries *list.List
	bytes   int
}

// Log may be used from any goroutine.
type Log struct {
	cfg Config
	run string // of this log; cursors of another one are not comparable

	mu      sync.Mutex // guards what follows
	entries *list.List // of *Entry, oldest first
	shares  map[string]*share
	bytes   int
	last    uint64 // number of the newest event
	readers map[*Reader]struct{}
	join    joiner
}

// New returns an empty Log.
func New(cfg Config) *Log {
	if cfg.Events <= 0 {
		cfg.Events = 50_000
	}
	if cfg.Bytes <= 0 {
		cfg.Bytes = 64 << 20
	}
	if cfg.Hold <= 0 {
		cfg.Hold = 1500 * time.Millisecond
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	var run [8]byte
	_, _ = rand.Read(run[:]) // it never fails
	return &Log{cfg: cfg, run: hex.EncodeToString(run[:]), entries: list.New(), shares: make(map[string]*share),
		readers: make(map[*Reader]struct{}), join: newJoiner(cfg.Hold)}
}

// Run releases events that are due until ctx ends.
func (l *Log) Run(ctx context.Context) {
	t := time.NewTicker(flushEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			l.Flush()
		}
	}
}

// Flush releases the events that are due.
func (l *Log) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.join.release(l.cfg.Now(), l.store)
}

// Drain releases every event, due or not.
func (l *Log) Drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.join.release(l.cfg.Now().Add(2*l.cfg.Hold), l.store)
}

// Add takes an event that concerns no connection, or that nothing is joined with.
func (l *Log) Add(e *Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.join.hold(&held{entries: [2]*Entry{e}}, e.Event.Kind, e.Event.Stamp, l.cfg.Now(), l.store)
}

// Connection takes what one end reported of a connection.
func (l *Log) Connection(r *Report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.join.add(r, l.cfg.Now(), l.store)
}

// store numbers an event and passes it to the readers. The lock is held.
func (l *Log) store(e *Entry) {
	l.last++
	e.seq = l.last
	e.Event.Cursor = l.cursor(e.seq)
	e.size = proto.Size(e.Event) + overhead
	s := l.shares[e.Share]
	if s == nil {
		s = &share{entries: list.New()}
		l.shares[e.Share] = s
	}
	e.at, e.mine = l.entries.PushBack(e), s.entries.PushBack(e)
	s.bytes += e.size
	l.bytes += e.size
	for l.entries.Len() > l.cfg.Events || l.bytes > l.cfg.Bytes {
		l.forget(l.victim(s))
	}
	for r := range l.readers {
		if r.filter.Match(&e.Subject) {
			r.deliver(e)
		}
	}
}

// victim returns the share that makes room: own where it has its part of the bytes already, else the largest.
func (l *Log) victim(own *share) *share {
	largest := own
	if own.bytes*len(l.shares) <= l.bytes {
		for _, s := range l.shares {
			if s.bytes > largest.bytes {
				largest = s
			}
		}
	}
	return largest
}

// forget drops the oldest event of a share.
func (l *Log) forget(s *share) {
	e := s.entries.Front().Value.(*Entry)
	s.entries.Remove(e.mine)
	l.entries.Remove(e.at)
	s.bytes -= e.size
	l.bytes -= e.size
	if s.entries.Len() == 0 {
		delete(l.shares, e.Share)
	}
}

// cursor returns the text of an event's number.
func (l *Log) cursor(seq uint64) string { return l.run + "." + strconv.FormatUint(seq, 10) }

// ErrCursor is the cause where a cursor is none of a Log.
type ErrCursor struct{ Text string }

// Error names the cursor.
func (e *ErrCursor) Error() string {
	return fmt.Sprintf("cursor %.64q is not one of an event: leave it out to begin with new events", e.Text)
}

// position returns the number after which a cursor continues. That of another log, of a controller
// that ended, continues with what is kept, and something is lost before it.
func (l *Log) position(cursor string) (seq uint64, own bool, err error) {
	run, number, ok := strings.Cut(cursor, ".")
	seq, perr := strconv.ParseUint(number, 10, 64)
	if _, herr := hex.DecodeString(run); !ok || perr != nil || herr != nil || len(run) != len(l.run) {
		return 0, false, &ErrCursor{cursor}
	}
	if run != l.run {
		return 0, false, nil
	}
	return min(seq, l.last), true, nil
}

// after returns the kept events behind a number that a filter accepts, oldest first, and how many
// behind it are no longer kept, whatever the filter.
func (l *Log) after(seq uint64, f *filter.Filter) (out []*Entry, lost uint64) {
	kept := uint64(0)
	for x := l.entries.Back(); x != nil; x = x.Prev() {
		e := x.Value.(*Entry)
		if e.seq <= seq {
			break
		}
		kept++
		if f.Match(&e.Subject) {
			out = append(out, e)
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out, l.last - seq - kept
}

// Query selects the events of List.
type Query struct {
	Filter *filter.Filter
	Token  string // Page.Next of the part before
	Limit  int
	Newest bool // the last Limit events instead of the first; Token is not used then
}

// Page is a part of the kept events.
type Page struct {
	Events []*controlv1.Event // in order
	Next   string             // "" where there are no more
	Total  uint64             // that match and are kept
	// Lost is how many that match are no longer kept; 0 where a filter leaves that unknown.
	Lost uint64
}

// List returns kept events, oldest first.
func (l *Log) List(q Query) (*Page, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all, lost := l.after(0, q.Filter)
	p := &Page{Total: uint64(len(all))}
	if q.Filter.All() {
		p.Lost = lost
	}
	part := all
	switch {
	case q.Newest:
		part = all[max(0, len(all)-q.Limit):]
	case q.Token != "":
		seq, own, err := l.position(q.Token)
		if err != nil {
			return nil, err
		}
		if !own {
			p.Lost = max(p.Lost, 1)
		}
		for len(part) > 0 && part[0].seq <= seq {
			part = part[1:]
		}
	}
	if !q.Newest && len(part) > q.Limit {
		part = part[:q.Limit]
		p.Next = l.cursor(part[len(part)-1].seq)
	}
	for _, e := range part {
		p.Events = append(p.Events, e.Event)
	}
	return p, nil
}
