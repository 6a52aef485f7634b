package hostmode

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
)

var errSwitchedOff = errors.New("the tracepoint is switched off")

// tracepoint is the program on inet_sock_set_state.
type tracepoint struct {
	objs   socketsObjects
	link   link.Link
	reader *ringbuf.Reader
}

var _ tracer = (*tracepoint)(nil)

// Probe returns the reason why the tracepoint is unavailable here; nil if it is available.
func Probe() error {
	t, err := openTracer()
	if err == nil {
		t.close()
	}
	return err
}

// openTracer attaches the program. It needs a kernel with BTF, 5.8 or later.
func openTracer() (tracer, error) {
	t := &tracepoint{}
	if err := loadSocketsObjects(&t.objs, nil); err != nil {
		return nil, fmt.Errorf("load program: %w", err)
	}
	var err error
	if t.link, err = link.AttachTracing(link.TracingOptions{Program: t.objs.SockState, AttachType: ebpf.AttachTraceRawTp}); err != nil {
		t.objs.Close()
		return nil, fmt.Errorf("attach to inet_sock_set_state: %w", err)
	}
	if t.reader, err = ringbuf.NewReader(t.objs.Events); err != nil {
		t.link.Close()
		t.objs.Close()
		return nil, fmt.Errorf("open events: %w", err)
	}
	return t, nil
}

func (t *tracepoint) watch(ino uint32) error { return t.objs.Watched.Put(ino, uint32(1)) }

func (t *tracepoint) unwatch(ino uint32) { _ = t.objs.Watched.Delete(ino) }

// run reads events into one buffer until close.
func (t *tracepoint) run(fn func(*socketsEvent)) {
	var r ringbuf.Record
	var e socketsEvent
	for {
		if err := t.reader.ReadInto(&r); errors.Is(err, ringbuf.ErrClosed) {
			return
		} else if err == nil && e.decode(r.RawSample) {
			fn(&e)
		}
	}
}

func (t *tracepoint) lost() uint64 {
	var n uint64
	_ = t.objs.Lost.Lookup(uint32(0), &n)
	return n
}

func (t *tracepoint) close() {
	t.reader.Close()
	t.link.Close()
	t.objs.Close()
}
