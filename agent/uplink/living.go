package uplink

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/internal/atomicfile"
)

// openSessions stores on disk which reported sessions are open, by a hash of their ends, which end is the
// client, and the application of UDP conversations. The next run of the agent picks open sessions up
// midstream; it does not count those again that this run has reported, and knows their client and
// application. Reports since the last flush are missing after a kill.
// One goroutine uses it.
// The file begins with a line that identifies the format; each entry after it is lineSize bytes: the
// event, the hash and the application. Files of version 2 have no applications, those of version 1 no
// first line and no sides either.
type openSessions struct {
	path   string
	log    *slog.Logger
	file   *os.File
	w      *bufio.Writer
	lines  int              // in the file
	set    map[uint64]entry // of this run
	before map[uint64]entry // of previous runs, not yet seen in this one
	until  time.Time        // when those expire
	left   atomic.Bool      // sessions that end from now on end for this agent only
}

// entry is what is stored of a session.
type entry struct {
	what byte // how it began
	// app is the application of a UDP conversation: app.None where it had no name although it was seen
	// from its beginning, app.Undecided where that is not known, and of other sessions.
	app app.ID
}

const (
	maxLiving = 1 << 20
	// givenUp is when unseen sessions of a previous run expire. Idle TCP connections send keepalives every
	// two hours (net.ipv4.tcp_keepalive_time).
	givenUp = 3 * time.Hour
	// leastLines is the minimum size for a rewrite of the file.
	leastLines = 1 << 16
	lineSize   = 11
	oldSize    = 9 // without the application
)

// First lines of the file.
const (
	sessionsHead = "sluice sessions 3\n"
	oldHead      = "sluice sessions 2\n"
)

// Events of an entry: a session began, with an unknown client or with the client at the end that sorts
// first or last; or it ended.
const (
	lineBegan  = '+'
	lineLower  = '<'
	lineHigher = '>'
	lineEnded  = '-'
)

// openLiving reads the sessions of previous runs.
func openSessionsFile(path string, log *slog.Logger) (*openSessions, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read open sessions: %w", err)
	}
	l := &openSessions{path: path, log: log, set: map[uint64]entry{}, before: map[uint64]entry{}, until: time.Now().Add(givenUp)}
	l.load(data)
	if err := l.rewrite(); err != nil {
		return nil, err
	}
	return l, nil
}

// load reads the file's content, up to the first damaged entry.
func (l *openSessions) load(data []byte) {
	data, now := bytes.CutPrefix(data, []byte(sessionsHead))
	size := lineSize
	if !now {
		data, size = bytes.TrimPrefix(data, []byte(oldHead)), oldSize
	}
	for ; len(data) >= size; data = data[size:] {
		h, e := binary.BigEndian.Uint64(data[1:]), entry{what: data[0], app: app.Undecided}
		if now {
			e.app = app.ID(binary.BigEndian.Uint16(data[oldSize:]))
		}
		switch e.what {
		case lineBegan, lineLower, lineHigher:
			if _, known := l.before[h]; known || len(l.before) < maxLiving {
				l.before[h] = e
			}
		case lineEnded:
			delete(l.before, h)
		default:
			l.log.Warn("file of open sessions damaged, some may be counted again", "file", l.path)
			return
		}
	}
}

// rewrite writes the remembered sessions to a new file.
func (l *openSessions) rewrite() error {
	next, err := atomicfile.Create(l.path, 0o600)
	if err != nil {
		return fmt.Errorf("write open sessions: %w", err)
	}
	w := bufio.NewWriter(next)
	l.lines = 0
	_, _ = w.WriteString(sessionsHead) // Flush has its error
	for _, m := range []map[uint64]entry{l.before, l.set} {
		for h, e := range m {
			l.lines++
			_, _ = w.Write(line(e, h))
		}
	}
	if err := w.Flush(); err != nil {
		return errors.Join(fmt.Errorf("write open sessions: %w", err), next.Abort())
	}
	if err := next.CommitUnsynced(); err != nil { // sessions lost with power are counted twice at worst
		return fmt.Errorf("write open sessions: %w", err)
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write open sessions: %w", err)
	}
	if l.file != nil {
		err = l.file.Close()
	}
	l.file, l.w = f, bufio.NewWriter(f)
	return err
}

func line(e entry, h uint64) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64([]byte{e.what}, h), uint16(e.app))
}

// sides returns the sides of previous runs' sessions whose client is known, and the applications of
// conversations.
func (l *openSessions) sides() *role.Memory {
	m := &role.Memory{Until: l.until.UnixNano(), LowerIsClient: map[uint64]bool{}, Apps: map[uint64]app.ID{}}
	for h, e := range l.before {
		if e.what != lineBegan {
			m.LowerIsClient[h] = e.what == lineLower
		}
		if e.app != app.Undecided {
			m.Apps[h] = e.app
		}
	}
	return m
}

// began stores a beginning, unless the session is over too, and reports whether a previous run has
// reported it.
func (l *openSessions) began(workload string, f *flow.Record, over bool) (again bool) {
	if over && len(l.before) == 0 || f.Proto != packet.ProtoTCP && f.Proto != packet.ProtoUDP {
		return false
	}
	h, e := entryOf(workload, f)
	if len(l.before) > 0 {
		var was entry
		if was, again = l.before[h]; again {
			delete(l.before, h)
			if over {
				l.appendEntry(entry{lineEnded, app.Undecided}, h)
			}
			if f.Midstream && e.app == app.Undecided {
				e.app = was.app
			}
		}
		// A handshake means a new connection.
		again = again && (f.Midstream || f.Proto == packet.ProtoUDP)
	}
	if !over && len(l.set) < maxLiving {
		l.set[h] = e
		l.appendEntry(e, h)
	}
	return again
}

// update stores which end of a session is the client, and its application, if that was unknown at its
// beginning or has changed.
func (l *openSessions) update(workload string, f *flow.Record) {
	h, e := entryOf(workload, f)
	was, ok := l.set[h]
	if e.what == lineBegan {
		e.what = was.what
	}
	if e.app == app.Undecided && f.Midstream {
		e.app = was.app
	}
	if ok && was != e {
		l.set[h] = e
		l.appendEntry(e, h)
	}
}

// released reports whether the end of a session is one for this run only, because the agent releases
// its workloads.
func (l *openSessions) released(f *flow.Record) bool {
	return l.left.Load() && !f.Phase.Over()
}

// ended stores an end.
func (l *openSessions) ended(workload string, f *flow.Record) {
	if l.released(f) {
		return
	}
	h, _ := entryOf(workload, f)
	if _, ok := l.set[h]; ok {
		delete(l.set, h)
		l.appendEntry(entry{lineEnded, app.Undecided}, h)
	}
}

func (l *openSessions) appendEntry(e entry, h uint64) {
	l.lines++
	_, _ = l.w.Write(line(e, h)) // flush has its error
}

// flush writes buffered entries to disk.
func (l *openSessions) flush() {
	if l == nil {
		return
	}
	if len(l.before) > 0 && time.Now().After(l.until) {
		clear(l.before)
	}
	err := l.w.Flush()
	if err != nil || l.lines > leastLines+4*(len(l.set)+len(l.before)) {
		if err = l.rewrite(); err != nil {
			l.log.Debug("file of open sessions not written", "error", err)
		}
	}
}

// close closes the file, which the next run reads.
func (l *openSessions) close() {
	if l != nil {
		l.flush()
		_ = l.file.Close()
	}
}

// entryOf returns a session's hash and what is stored of it. A guessed client is stored as unknown.
func entryOf(workload string, f *flow.Record) (h uint64, e entry) {
	t := role.Tuple{Local: f.Client, Remote: f.Server, LocalPort: f.ClientPort, RemotePort: f.ServerPort, Proto: f.Proto}
	h, lower := role.SeedOf(workload).Hash(&t)
	e = entry{lineHigher, appOf(f)}
	switch {
	case f.Evidence.Guessed():
		e.what = lineBegan
	case lower:
		e.what = lineLower
	}
	return h, e
}

// appOf returns the application of an entry.
func appOf(f *flow.Record) app.ID {
	a := app.ID(f.App)
	switch {
	case f.Proto != packet.ProtoUDP || a == app.Undecided || a == app.None || f.Reason == flow.ByUnidentified:
		return app.Undecided
	case a != app.Unknown:
		return a
	case f.Midstream:
		return app.Undecided
	}
	return app.None
}
