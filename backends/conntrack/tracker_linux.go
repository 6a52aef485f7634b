package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
)

// Tracker queries the connection tracker of one namespace. One goroutine uses it.
type Tracker struct {
	fd  int
	seq uint32
	ask asking
	buf []byte
}

var errAnswer = errors.New("no whole answer")

// trackerWait bounds the wait for an answer, which the kernel sends before a request returns.
const trackerWait = 2 // seconds

// Open connects to the connection tracker of the namespace at path, and loads it where it is a module.
func Open(path string) (*Tracker, error) {
	t := &Tracker{fd: -1, ask: asking{make([]byte, 0, 256)}, buf: make([]byte, 32<<10)}
	err := netns.Do(path, func() (err error) {
		t.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	})
	if err == nil {
		err = unix.SetsockoptTimeval(t.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: trackerWait})
	}
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("ctnetlink: %w", err)
	}
	return t, nil
}

// Close ends the connection.
func (t *Tracker) Close() {
	if t.fd >= 0 {
		_ = unix.Close(t.fd)
	}
	t.fd = -1
}

// Get returns the entry with the tuple in either direction; ENOENT if there is none.
func (t *Tracker) Get(e *Entry, of *Tuple) error {
	t.begin(typeGetEntry, 0, of)
	found := false
	err := t.do(func(kind uint16, b []byte) bool {
		found = kind == typeEntry && e.parse(b)
		return true
	})
	if err == nil && !found {
		err = errAnswer
	}
	return err
}

// SetMark sets the mark of a connection.
func (t *Tracker) SetMark(of *Tuple, mark uint32) error {
	t.begin(typeEntry, nlAck, of)
	t.ask.put32(ctMark, mark)
	return t.do(func(uint16, []byte) bool { return false })
}

// ClearMarks removes marks that are value under mask.
func (t *Tracker) ClearMarks(value, mask uint32) error {
	t.beginList()
	t.ask.put32(ctMark, value)
	t.ask.put32(ctMarkMask, mask)
	var marked []Tuple
	err := t.list(func(e *Entry) {
		if e.Mark&mask == value {
			marked = append(marked, e.Tuples[0])
		}
	})
	for i := range marked {
		if err := t.SetMark(&marked[i], 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("clear mark: %w", err)
		}
	}
	if err != nil {
		return fmt.Errorf("list marked connections: %w", err)
	}
	return nil
}

// List calls fn for each entry of the namespace.
func (t *Tracker) List(fn func(*Entry)) error {
	t.beginList()
	return t.list(fn)
}

func (t *Tracker) beginList() {
	t.seq++
	t.ask.begin(typeGetEntry, nlDump, unix.AF_UNSPEC, t.seq)
}

func (t *Tracker) list(fn func(*Entry)) error {
	var e Entry
	return t.do(func(kind uint16, b []byte) bool {
		if kind == typeEntry && e.parse(b) {
			fn(&e)
		}
		return false
	})
}

func (t *Tracker) begin(kind, flags uint16, of *Tuple) {
	family := uint8(unix.AF_INET)
	if of.IPv6 {
		family = unix.AF_INET6
	}
	t.seq++
	t.ask.begin(kind, flags, family, t.seq)
	t.ask.tuple(of)
}

// do sends the request that was built and passes the messages of its answer to fn, until fn
// has what it needs, or the answer ends.
func (t *Tracker) do(fn func(kind uint16, attrs []byte) (done bool)) error {
	if _, err := unix.Write(t.fd, t.ask.finish()); err != nil {
		return fmt.Errorf("ask connection tracker: %w", err)
	}
	for {
		n, err := unix.Read(t.fd, t.buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("answer of connection tracker: %w", err)
		}
		for b := t.buf[:n]; len(b) >= nlHeader; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < nlHeader || size > len(b) {
				return errAnswer
			}
			msg := b[:size]
			b = b[min((size+3)&^3, len(b)):]
			if binary.NativeEndian.Uint32(msg[8:]) != t.seq {
				continue // late answer to an abandoned request
			}
			if done, err := answer(msg, fn); done || err != nil {
				return err
			}
		}
	}
}

// answer reads one message of an answer.
func answer(msg []byte, fn func(uint16, []byte) bool) (done bool, err error) {
	kind := binary.NativeEndian.Uint16(msg[4:])
	switch {
	case kind == typeDone:
		return true, nil
	case kind == typeError && len(msg) >= nlHeader+4:
		if errno := -int32(binary.NativeEndian.Uint32(msg[nlHeader:])); errno != 0 {
			return true, unix.Errno(errno)
		}
		return true, nil
	case len(msg) < nlHeader+genHeader:
		return true, errAnswer
	}
	return fn(kind, msg[nlHeader+genHeader:]), nil
}
