package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
)

// tracker queries the connection tracker of one namespace. One goroutine uses it.
type tracker struct {
	fd  int
	seq uint32
	ask asking
	buf []byte
}

var errAnswer = errors.New("no whole answer")

// trackerWait bounds the wait for an answer, which the kernel sends before a request returns.
const trackerWait = 2 // seconds

func openTracker(path string) (*tracker, error) {
	t := &tracker{fd: -1, ask: asking{make([]byte, 0, 256)}, buf: make([]byte, 32<<10)}
	err := netns.Do(path, func() (err error) {
		t.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	})
	if err == nil {
		err = unix.SetsockoptTimeval(t.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: trackerWait})
	}
	if err != nil {
		t.close()
		return nil, fmt.Errorf("ctnetlink: %w", err)
	}
	return t, nil
}

func (t *tracker) close() {
	if t.fd >= 0 {
		_ = unix.Close(t.fd)
	}
	t.fd = -1
}

// get returns the entry with the tuple in either direction; ENOENT if there is none.
func (t *tracker) get(e *entry, of *tuple) error {
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

// setMark sets the mark of a connection.
func (t *tracker) setMark(of *tuple, mark uint32) error {
	t.begin(typeEntry, nlAck, of)
	t.ask.put32(ctMark, mark)
	return t.do(func(uint16, []byte) bool { return false })
}

// clearMarks removes marks that are value under mask.
func (t *tracker) clearMarks(value, mask uint32) error {
	t.seq++
	t.ask.begin(typeGetEntry, nlDump, unix.AF_UNSPEC, t.seq)
	t.ask.put32(ctMark, value)
	t.ask.put32(ctMarkMask, mask)
	var marked []tuple
	var e entry
	err := t.do(func(kind uint16, b []byte) bool {
		if kind == typeEntry && e.parse(b) && e.mark&mask == value {
			marked = append(marked, e.tuples[0])
		}
		return false
	})
	for i := range marked {
		if err := t.setMark(&marked[i], 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("clear mark: %w", err)
		}
	}
	if err != nil {
		return fmt.Errorf("list marked connections: %w", err)
	}
	return nil
}

func (t *tracker) begin(kind, flags uint16, of *tuple) {
	family := uint8(unix.AF_INET)
	if of.v6 {
		family = unix.AF_INET6
	}
	t.seq++
	t.ask.begin(kind, flags, family, t.seq)
	t.ask.tuple(of)
}

// do sends the request that was built and passes the messages of its answer to fn, until fn
// has what it needs, or the answer ends.
func (t *tracker) do(fn func(kind uint16, attrs []byte) (done bool)) error {
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
