// Package backendtest is the conformance suite of live backends. It builds topologies in its
// own namespaces and sends real traffic through them, so it needs root. It knows backends
// only by their contract.
package backendtest

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// Harness describes a backend to the suite.
type Harness struct {
	// New returns a backend; the suite closes it.
	New func(t testing.TB) backend.Backend
	// Endpoint describes a workload to the backend, with the fail mode.
	Endpoint func(id uint32, w *testnet.Workload, fail backend.FailMode) backend.Endpoint
	// Child is the name of a test of the backend's package that only calls Serve, for the tests
	// that kill a process. Empty skips them.
	Child string
	// Pair puts the workloads on a routed host instead of a bridge.
	Pair bool
	// Rounds is how often the endpoint is attached and detached under load, for each
	// family; 0 is 10.
	Rounds int
	// CutsLarge reports that frames larger than the link's MTU may come in parts.
	CutsLarge bool
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	testnet.RequireRoot(t)
	kind := h.Endpoint(1, &testnet.Workload{NS: &testnet.NS{}, Host: &testnet.NS{}}, backend.FailOpen).Kind
	tests := []struct {
		name   string
		inline bool // applies only where verdicts take effect
		run    func(*testing.T, Harness)
	}{
		{"directions", false, directions},
		{"bulk", false, bulk},
		{"wake", false, wake},
		{"close", false, closing},
		{"restore", false, restore},
		{"reattach", false, reattach},
		{"drop", true, drop},
		{"undecided", true, undecided},
		{"send", true, send},
		{"kill", false, kill},
	}
	for _, c := range tests {
		if c.inline && kind != backend.Inline {
			continue // verdicts have no effect on a tap
		}
		t.Run(c.name, func(t *testing.T) { c.run(t, h) })
	}
}

// topology is two connected workloads.
func (h Harness) topology(t *testing.T) (a, b *testnet.Workload) {
	t.Helper()
	n := testnet.New(t)
	if h.Pair {
		p := n.Pair()
		return p.Client, p.Server
	}
	ws := n.Bridge("a", "b").Workloads
	return ws[0], ws[1]
}

// families are the networks of every traffic test.
var families = []string{"4", "6"}

// judge decides about a frame on the worker's goroutine.
type judge func(f *packet.Frame) packet.Action

func pass(*packet.Frame) packet.Action { return packet.Pass }

// worker drives the queues of one attachment like the engine, each on its own goroutine. q is
// the first of them, and jobs run there.
type worker struct {
	q      backend.Queue
	queues []backend.Queue
	judge  atomic.Pointer[judge]
	jobs   chan func(backend.Queue)
	done   chan error // one result per queue
	frames atomic.Uint64
	calls  atomic.Uint64
}

// setJudge changes the verdicts from now on.
func (w *worker) setJudge(j judge) { w.judge.Store(&j) }

func (w *worker) run(queue backend.Queue) {
	batch := packet.NewBatch(64)
	jobs := w.jobs
	if queue != w.q {
		jobs = nil
	}
	for {
		if err := queue.Recv(batch); err != nil {
			w.done <- err
			return
		}
		w.calls.Add(1)
		w.frames.Add(uint64(batch.N))
		frames := batch.All()
		for i := range frames {
			frames[i].Verdict.Action = (*w.judge.Load())(&frames[i])
		}
		if err := queue.Settle(batch); err != nil {
			w.done <- err
			return
		}
		select {
		case job := <-jobs:
			job(queue)
		default:
		}
	}
}

// do runs fn on the worker's goroutine.
func (w *worker) do(fn func(backend.Queue)) {
	ran := make(chan struct{})
	w.jobs <- func(q backend.Queue) { fn(q); close(ran) }
	w.q.Wake()
	<-ran
}

// end waits for the end of every queue, which must be io.EOF.
func (w *worker) end(t *testing.T) {
	t.Helper()
	late := time.After(5 * time.Second)
	for range w.queues {
		select {
		case err := <-w.done:
			if !errors.Is(err, io.EOF) {
				t.Errorf("queue ended with %v, want EOF", err)
			}
		case <-late:
			t.Error("queue did not end")
		}
	}
}

// close closes every queue.
func (w *worker) close() error {
	var errs []error
	for _, q := range w.queues {
		errs = append(errs, q.Close())
	}
	return errors.Join(errs...)
}

// rig is a backend with one attached endpoint and its worker.
type rig struct {
	b backend.Backend
	a backend.Attachment
	w *worker
}

// attach attaches a workload and starts its worker; everything is closed with the test.
func (h Harness) attach(t *testing.T, ep backend.Endpoint, j judge) *rig {
	t.Helper()
	r := &rig{b: h.New(t)}
	var once sync.Once
	t.Cleanup(func() {
		once.Do(func() {
			if err := r.b.Close(); err != nil {
				t.Errorf("close backend: %v", err)
			}
		})
	})
	r.a, r.w = start(t, r.b, ep, j)
	return r
}

// start attaches, runs the worker of the new queues and activates.
func start(t testing.TB, b backend.Backend, ep backend.Endpoint, j judge) (backend.Attachment, *worker) {
	t.Helper()
	a, err := b.Attach(context.Background(), ep)
	if err != nil {
		t.Fatal(err)
	}
	queues := a.Queues()
	if len(queues) == 0 {
		t.Fatal("the first attachment brings no queue")
	}
	w := &worker{q: queues[0], queues: queues, jobs: make(chan func(backend.Queue), 1), done: make(chan error, len(queues))}
	w.setJudge(j)
	for _, q := range queues {
		go w.run(q)
	}
	if err := a.Activate(); err != nil {
		t.Fatal(err)
	}
	return a, w
}

// payload returns a frame's UDP payload, nil without one; it decodes independently, so that
// the suite does not depend on the decoder that it feeds.
func payload(f *packet.Frame) []byte {
	d := f.Data
	if f.Link == packet.Ethernet {
		if len(d) < 14 {
			return nil
		}
		d = d[14:]
	}
	if len(d) < 20 {
		return nil
	}
	switch {
	case d[0]>>4 == 4 && d[9] == 17:
		hdr := int(d[0]&15) * 4
		if len(d) < hdr+8 {
			return nil
		}
		return d[hdr+8 : min(len(d), int(binary.BigEndian.Uint16(d[2:])))]
	case d[0]>>4 == 6 && len(d) >= 48 && d[6] == 17:
		return d[48:min(len(d), 40+int(binary.BigEndian.Uint16(d[4:])))]
	}
	return nil
}

// eventually waits for a condition that traffic causes.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); {
		if cond() {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Errorf("%s: was not reached\n%s", what, debug.Stack())
}
