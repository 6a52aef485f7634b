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
	"github.com/sluicenet/sluice/internal/atomicfile"
)

// living remembers on disk which sessions were reported to have begun and not to have ended, by a hash of
// their ends. A new run of the agent picks up sessions whose beginning it has not seen; those that
// the previous run reported are not counted again. One goroutine uses it.
type living struct {
	path   string
	log    *slog.Logger
	file   *os.File
	w      *bufio.Writer
	lines  int                 // in the file
	set    map[uint64]struct{} // of this run
	before map[uint64]struct{} // of previous runs, and not seen yet in this one
	until  time.Time           // then those are given up
	left   atomic.Bool         // what ends from now on ends for this agent only
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

const (
	lineBegan = '+'
	lineEnded = '-'
)

// openLiving reads what previous runs remembered.
func openLiving(path string, log *slog.Logger) (*living, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read which sessions live: %w", err)
	}
	l := &living{path: path, log: log, set: map[uint64]struct{}{}, before: map[uint64]struct{}{}, until: time.Now().Add(givenUp)}
	for damaged := false; len(data) >= lineSize && !damaged; data = data[lineSize:] {
		h := binary.BigEndian.Uint64(data[1:])
		switch data[0] {
		case lineBegan:
			if len(l.before) < maxLiving {
				l.before[h] = struct{}{}
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
	for _, m := range []map[uint64]struct{}{l.before, l.set} {
		for h := range m {
			l.lines++
			_, _ = w.Write(line(lineBegan, h)) // Flush has its error
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

// began notes a beginning, unless it is over too, and reports whether a previous run has reported it.
func (l *living) began(workload string, f *flow.Record, over bool) (again bool) {
	if over && len(l.before) == 0 || f.Proto != packet.ProtoTCP && f.Proto != packet.ProtoUDP {
		return false
	}
	h := hashOf(workload, f)
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
		l.set[h] = struct{}{}
		l.note(lineBegan, h)
	}
	return again
}

// ended notes an end.
func (l *living) ended(workload string, f *flow.Record) {
	if l.left.Load() {
		return
	}
	h := hashOf(workload, f)
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

// hashOf is FNV-1a of a session's workload, protocol and ends, whichever of them is the client.
func hashOf(workload string, f *flow.Record) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	add := func(b byte) { h = (h ^ uint64(b)) * prime }
	a, b, pa, pb := &f.Client, &f.Server, f.ClientPort, f.ServerPort
	if c := bytes.Compare(a[:], b[:]); c > 0 || c == 0 && pa > pb {
		a, b, pa, pb = b, a, pb, pa
	}
	for i := range len(workload) {
		add(workload[i])
	}
	add(f.Proto)
	for _, end := range []struct {
		addr *packet.Addr
		port uint16
	}{{a, pa}, {b, pb}} {
		for _, x := range end.addr {
			add(x)
		}
		add(byte(end.port >> 8))
		add(byte(end.port))
	}
	return h
}
