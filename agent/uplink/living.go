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

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/internal/atomicfile"
)

// living stores on disk which reported sessions are open, by a hash of their ends, and which end is the
// client. The next run of the agent picks open sessions up midstream; it does not count those again that
// this run has reported, and knows their client. Reports since the last flush are missing after a kill.
// One goroutine uses it.
// The file begins with a line that identifies the format; each entry after it is lineSize bytes: the
// event and the hash. Files of version 1 have no first line and no sides.
type openSessions struct {
	path   string
	log    *slog.Logger
	file   *os.File
	w      *bufio.Writer
	lines  int             // in the file
	set    map[uint64]byte // of this run, by the line that each began with
	before map[uint64]byte // of previous runs, not yet seen in this one
	until  time.Time       // when those expire
	left   atomic.Bool     // sessions that end from now on end for this agent only
}

const (
	maxLiving = 1 << 20
	// givenUp is when unseen sessions of a previous run expire. Idle TCP connections send keepalives every
	// two hours (net.ipv4.tcp_keepalive_time).
	givenUp = 3 * time.Hour
	// leastLines is the minimum size for a rewrite of the file.
	leastLines = 1 << 16
	lineSize   = 9
)

// livingHead is the first line of the file.
const sessionsHead = "sluice sessions 2\n"

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
	l := &openSessions{path: path, log: log, set: map[uint64]byte{}, before: map[uint64]byte{}, until: time.Now().Add(givenUp)}
	data = bytes.TrimPrefix(data, []byte(sessionsHead))
	for damaged := false; len(data) >= lineSize && !damaged; data = data[lineSize:] {
		h := binary.BigEndian.Uint64(data[1:])
		switch data[0] {
		case lineBegan, lineLower, lineHigher:
			if _, known := l.before[h]; known || len(l.before) < maxLiving {
				l.before[h] = data[0]
			}
		case lineEnded:
			delete(l.before, h)
		default:
			log.Warn("file of open sessions damaged, some may be counted again", "file", path)
			damaged = true
		}
	}
	if err := l.rewrite(); err != nil {
		return nil, err
	}
	return l, nil
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
	for _, m := range []map[uint64]byte{l.before, l.set} {
		for h, what := range m {
			l.lines++
			_, _ = w.Write(line(what, h))
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

func line(what byte, h uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{what}, h)
}

// sides returns the sides of previous runs' sessions whose client is known.
func (l *openSessions) sides() *role.Memory {
	m := &role.Memory{Until: l.until.UnixNano(), LowerIsClient: map[uint64]bool{}}
	for h, what := range l.before {
		if what != lineBegan {
			m.LowerIsClient[h] = what == lineLower
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
	h, what := lineOf(workload, f)
	if len(l.before) > 0 {
		if _, again = l.before[h]; again {
			delete(l.before, h)
			if over {
				l.appendEntry(lineEnded, h)
			}
		}
		// A handshake means a new connection.
		again = again && (f.Midstream || f.Proto == packet.ProtoUDP)
	}
	if !over && len(l.set) < maxLiving {
		l.set[h] = what
		l.appendEntry(what, h)
	}
	return again
}

// updateSide stores which end of a session is the client, if that was unknown at its beginning or has changed.
func (l *openSessions) updateSide(workload string, f *flow.Record) {
	h, what := lineOf(workload, f)
	if before, ok := l.set[h]; ok && before != what && what != lineBegan {
		l.set[h] = what
		l.appendEntry(what, h)
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
	h, _ := lineOf(workload, f)
	if _, ok := l.set[h]; ok {
		delete(l.set, h)
		l.appendEntry(lineEnded, h)
	}
}

func (l *openSessions) appendEntry(what byte, h uint64) {
	l.lines++
	_, _ = l.w.Write(line(what, h)) // flush has its error
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

// lineOf returns a session's hash and the event of its beginning. A guessed client is stored as unknown.
func lineOf(workload string, f *flow.Record) (h uint64, what byte) {
	t := role.Tuple{Local: f.Client, Remote: f.Server, LocalPort: f.ClientPort, RemotePort: f.ServerPort, Proto: f.Proto}
	h, lower := role.SeedOf(workload).Hash(&t)
	switch {
	case f.Evidence.Guessed():
		return h, lineBegan
	case lower:
		return h, lineLower
	}
	return h, lineHigher
}
