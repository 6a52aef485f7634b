package nfqueue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// exchange receives a queue's messages from the kernel and sends it verdicts. Waiting is done by the runtime's
// poller. The worker uses it, and any goroutine wake.
type exchange struct {
	src      *source
	endpoint uint32 // for errors
	bufs     *slots
	out      verdicts
	readFn   func(fd uintptr) bool // readable, bound once: no closure per wait
	writeFn  func(fd uintptr) bool // writable

	want  int // number of messages that readable may receive
	got   int
	errno unix.Errno
	asked bool // poll once, without waiting
	woken atomic.Bool
}

// open makes the buffers for a source's messages.
func (x *exchange) open(src *source, endpoint uint32) (err error) {
	x.src, x.endpoint, x.readFn, x.writeFn = src, endpoint, x.readable, x.writable
	x.out = verdicts{buf: make([]byte, 0, (batch+1)*(verdictLen+markLen)), queue: src.num}
	x.bufs, err = newSlots(batch)
	return err
}

// receive receives at most want messages, of which got have arrived then. It waits for the first one, a wake, or
// some time.
func (x *exchange) receive(want int, wait time.Duration) error {
	x.want, x.asked = want, false
	if err := x.src.file.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return x.waitError(err)
	}
	// After the deadline is set: a wake before it had its own overwritten.
	x.got, x.errno = 0, 0
	if x.woken.Swap(false) {
		x.asked = true
	}
	err := x.src.conn.Read(x.readFn)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return x.waitError(err)
	}
	switch x.errno {
	case 0, unix.EAGAIN, unix.EINTR, unix.ENOBUFS: // messages that did not fit are missing in the packet numbers
		return nil
	}
	return fmt.Errorf("receive of endpoint %d: %w", x.endpoint, x.errno)
}

func (x *exchange) waitError(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return io.EOF
	}
	return fmt.Errorf("wait for queue of endpoint %d: %w", x.endpoint, err)
}

// readable is the poller's callback: it receives the available messages.
func (x *exchange) readable(fd uintptr) bool {
	x.got, x.errno = x.bufs.receive(fd, x.want)
	return x.errno != unix.EAGAIN || x.asked
}

// wake ends a receive, or the next one.
func (x *exchange) wake() {
	x.woken.Store(true)
	_ = x.src.file.SetReadDeadline(time.Unix(1, 0))
}

// write sends the collected verdicts.
func (x *exchange) write() error {
	if len(x.out.buf) == 0 {
		return nil
	}
	x.errno = 0
	if err := x.src.conn.Write(x.writeFn); err != nil {
		return x.waitError(err)
	}
	if x.errno != 0 {
		return fmt.Errorf("verdicts of endpoint %d: %w", x.endpoint, x.errno)
	}
	return nil
}

// writable is the poller's callback.
func (x *exchange) writable(fd uintptr) bool {
	_, err := unix.Write(int(fd), x.out.buf)
	x.errno, _ = err.(unix.Errno) //nolint:errorlint // the call returns a bare Errno, and this is the hot path
	return x.errno != unix.EAGAIN
}
