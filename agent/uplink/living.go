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

// living keeps on disk which sessions were reported to have begun and not to have ended, by a hash of their
// ends, and which of the ends is the client. The next run of the agent picks sessions up whose beginning it
// has not seen; those that this one has reported are not counted again, and their client is known. What was
// reported since the last flush is missing after a kill. One goroutine uses it.
//
// The file begins with a line of its own, so that another format is recognised; behind it each entry is
// lineSize bytes: what happened, and the hash. Files of version 1 have no first line and no sides.
type living struct {
	path   string
	log    *slog.Logger
	file   *os.File
	w      *bufio.Writer
	lines  int             // in the file
	set    map[uint64]byte // of this run, by the line that each began with
	before map[uint64]byte // of previous runs, and not seen yet in this one
	until  time.Time       // then those are given up
	left   atomic.Bool     // what ends from now on ends for this agent only
}

const (
	maxLiving = 1 << 20
	// givenUp is when sessions of a previous run that were not seen again are over. Idle TCP connections
	// show themselves every two hours (net.ipv4.tcp_keepalive_time).
	givenUp = 3 * time.Hour
	// leastLines is when the file is written anew at the earliest.
	leastLines = 1 << 16
	lineSize   = 9
)

// livingHead is the first line of the file.
const livingHead = "sluice sessions 2\n"

// What an entry says of a session: that it began, of unknown side or with the client at the end that
// sorts first or last; or that it ended.
const (
	lineBegan  = '+'
	lineLower  = '<'
	lineHigher = '>'
	lineEnded  = '-'
)

// openLiving reads what previous runs remembered.
func openLiving(path string, log *slog.Logger) (*living, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read which sessions live: %w", err)
	}
	l := &living{path: path, log: log, set: map[uint64]byte{}, before: map[uint64]byte{}, until: time.Now().Add(givenUp)}
	data = bytes.TrimPrefix(data, []byte(livingHead))
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
			log.Warn("the memory of live sessions is damaged: some may be counted again", "file", path)
			damaged = true
		}
	}
	if err := l.rewrite(); err != nil {
		return nil, err
	}
	return l, nil
}

// rewrite makes a new file of what is remembered.
func (l *living) rewrite() error {
	next, err := atomicfile.Create(l.path, 0o600)
	if err != nil {
		return fmt.Errorf("write which sessions live: %w", err)
	}
	w := bufio.NewWriter(next)
	l.lines = 0
	_, _ = w.WriteString(livingHead) // Flush has its error
	for _, m := range []map[uint64]byte{l.before, l.set} {
		for h, what := range m {
			l.lines++
			_, _ = w.Write(line(what, h))
		}
	}
	if err := w.Flush(); err != nil {
		return errors.Join(fmt.Errorf("write which sessions live: %w", err), next.Abort())
	}
	if err := next.CommitUnsynced(); err != nil { // what a loss of power takes is counted twice at worst
		return fmt.Errorf("write which sessions live: %w", err)
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write which sessions live: %w", err)
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

// sides are those of the sessions of previous runs whose client is known.
func (l *living) sides() *role.Memory {
	m := &role.Memory{Until: l.until.UnixNano(), LowerIsClient: map[uint64]bool{}}
	for h, what := range l.before {
		if what != lineBegan {
			m.LowerIsClient[h] = what == lineLower
		}
	}
	return m
}

// began notes a beginning, unless it is over too, and reports whether a previous run has reported it.
func (l *living) began(workload string, f *flow.Record, over bool) (again bool) {
	if over && len(l.before) == 0 || f.Proto != packet.ProtoTCP && f.Proto != packet.ProtoUDP {
		return false
	}
	h, what := lineOf(workload, f)
	if len(l.before) > 0 {
		if _, again = l.before[h]; again {
			delete(l.before, h)
			if over {
				l.note(lineEnded, h)
			}
		}
		// A handshake that was seen is that of a new connection.
		again = again && (f.Midstream || f.Proto == packet.ProtoUDP)
	}
	if !over && len(l.set) < maxLiving {
		l.set[h] = what
		l.note(what, h)
	}
	return again
}

// goesOn notes which end of a session is the client, where that was not known when it began or has changed.
func (l *living) goesOn(workload string, f *flow.Record) {
	h, what := lineOf(workload, f)
	if before, ok := l.set[h]; ok && before != what && what != lineBegan {
		l.set[h] = what
		l.note(what, h)
	}
}

// ended notes an end.
func (l *living) ended(workload string, f *flow.Record) {
	if l.left.Load() {
		return
	}
	h, _ := lineOf(workload, f)
	if _, ok := l.set[h]; ok {
		delete(l.set, h)
		l.note(lineEnded, h)
	}
}

func (l *living) note(what byte, h uint64) {
	l.lines++
	_, _ = l.w.Write(line(what, h)) // flush has its error
}

// flush brings what was noted to the disk.
func (l *living) flush() {
	if l == nil {
		return
	}
	if len(l.before) > 0 && time.Now().After(l.until) {
		clear(l.before)
	}
	err := l.w.Flush()
	if err != nil || l.lines > leastLines+4*(len(l.set)+len(l.before)) {
		if err = l.rewrite(); err != nil {
			l.log.Debug("the memory of live sessions is not on disk", "error", err)
		}
	}
}

// close leaves the file for the next run.
func (l *living) close() {
	if l != nil {
		l.flush()
		_ = l.file.Close()
	}
}

// lineOf is a session's hash, and how its beginning is written. A client that was guessed is not remembered
// as one that is known.
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
