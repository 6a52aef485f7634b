package engine_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// memKernel is a queue whose flows can be offloaded, with its attachment and backend.
type memKernel struct {
	*memQueue

	kmu      sync.Mutex
	count    backend.FlowCount // of any flow, while known
	known    bool
	refuses  bool
	recalled []uint32
	broken   error
	returned int
	drained  int
}

var (
	_ backend.Offloader = (*memKernel)(nil)
	_ backend.Recaller  = (*memKernel)(nil)
)

func (k *memKernel) Attach(context.Context, backend.Endpoint) (backend.Attachment, error) {
	return memKernelAttachment{k}, nil
}

type memKernelAttachment struct{ *memKernel }

func (a memKernelAttachment) Queues() []backend.Queue { return []backend.Queue{a.memKernel} }
func (a memKernelAttachment) Activate() error         { return nil }
func (a memKernelAttachment) Close() error            { return nil }

func (k *memKernel) Offload(*backend.FlowKey) (backend.FlowCount, bool) {
	k.kmu.Lock()
	defer k.kmu.Unlock()
	return k.count, !k.refuses
}

func (k *memKernel) Drain(*backend.FlowKey) (backend.FlowCount, bool) {
	k.kmu.Lock()
	defer k.kmu.Unlock()
	k.drained++
	return k.count, k.known
}

func (k *memKernel) Return(*backend.FlowKey) {
	k.kmu.Lock()
	defer k.kmu.Unlock()
	k.returned++
}

func (k *memKernel) Recall(generation uint32) error {
	k.kmu.Lock()
	defer k.kmu.Unlock()
	k.recalled = append(k.recalled, generation)
	return k.broken
}

func (k *memKernel) Stays() string { return "" }

// recalls returns the generations that flows were recalled for.
func (k *memKernel) recalls() []uint32 {
	k.kmu.Lock()
	defer k.kmu.Unlock()
	return slices.Clone(k.recalled)
}

// set sets the kernel's counts.
func (k *memKernel) set(known bool, c backend.FlowCount) {
	k.kmu.Lock()
	defer k.kmu.Unlock()
	k.known, k.count = known, c
}

// offloading is an engine with one workload behind a memKernel, with its own clock.
type offloading struct {
	bench
	k   *memKernel
	now atomic.Int64
	all []flow.Record
}

const (
	offloadBegin = int64(1700000000e9)
	shopPort     = 8080
)

func newOffloading(t *testing.T, fail backend.FailMode) *offloading {
	t.Helper()
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	o := &offloading{k: &memKernel{memQueue: newMemQueue(), known: true}}
	o.now.Store(offloadBegin)
	o.bench = bench{t: t, e: engine.New(engine.Config{Parsers: reg, Now: o.now.Load}), be: &memBackend{inline: o.k.memQueue, taps: map[uint32]*memQueue{}}}
	t.Cleanup(func() { o.e.Close() })
	o.allow(1)
	err = o.e.Attach(context.Background(), struct {
		*memKernel
	}{o.k}, backend.Endpoint{ID: 1, Kind: backend.Inline, MAC: [6]byte{2, 0, 0, 0, 0, 1}, Fail: fail}, "w")
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// enforced waits until a policy holds for offloaded flows, too.
func (o *offloading) enforced(version uint64) {
	o.t.Helper()
	if !o.e.AwaitEnforced(version, 10*time.Second) || o.e.Enforced() != version {
		o.t.Fatalf("version %d is enforced, want %d", o.e.Enforced(), version)
	}
}

// allow applies a policy that allows HTTP and DNS, and nothing else.
func (o *offloading) allow(version uint64) {
	o.policy(version, policy.Protect, policy.WorkloadSpec{}, policy.RuleSpec{ID: 1, Apps: []app.ID{app.HTTP, app.DNS}})
}

// give passes frames at the present time and returns the marks of their verdicts.
func (o *offloading) give(frames ...packet.Frame) (marks []uint32) {
	for i := range frames {
		frames[i].Stamp = o.now.Load()
	}
	for _, f := range o.k.give(frames...) {
		marks = append(marks, f.Verdict.Mark)
	}
	return marks
}

// open opens a connection and sends requests on it until it is offloadable; the kernel has
// counted the same.
func (o *offloading) open(v6 bool) *conn {
	o.t.Helper()
	c := newConn(v6, 40000, shopPort)
	frames := c.handshake(o.t)
	for len(frames) < 30 {
		frames = append(frames, c.seg(o.t, 0, "PA", httpRequest), c.seg(o.t, 1, "PA", httpAnswer))
	}
	n := backend.FlowCount{}
	for i := range frames {
		d := 0
		if frames[i].Dir == packet.Ingress {
			d = 1
		}
		n.Packets[d]++
		n.Bytes[d] += uint64(len(frames[i].Data) - 14)
	}
	o.k.set(true, n)
	marks := o.give(frames...)
	for i, m := range marks {
		if want := uint32(0); i < 23 && m != want {
			o.t.Fatalf("packet %d has mark %d, want none so early", i+1, m)
		}
	}
	if got := marks[len(marks)-1]; got != 1 {
		o.t.Fatalf("packet %d has mark %d, want 1", len(marks), got)
	}
	return c
}

// pass advances the clock and runs the worker's timers.
func (o *offloading) pass(d time.Duration) {
	for end := o.now.Load() + int64(d); o.now.Load() < end; {
		o.now.Add(min(int64(time.Second), end-o.now.Load()))
		o.settle()
	}
}

// settle waits until the worker has processed its timers.
func (o *offloading) settle() {
	ping := newConn(false, 50000, 9)
	for range 2 {
		o.give(ping.seg(o.t, 0, "R", ""))
	}
	o.e.Drain(func(f *flow.Record) {
		if f.ServerPort == shopPort {
			o.all = append(o.all, *f)
		}
	})
}

// total sums up the reported counts.
func (o *offloading) total() (packets, bytes [2]uint64, ended bool) {
	for _, f := range o.all {
		for d := range packets {
			packets[d] += f.Packets[d]
			bytes[d] += f.Bytes[d]
		}
		ended = ended || f.Kind == flow.End
	}
	return packets, bytes, ended
}

// TestOffloadCounts offloads a connection to the kernel, which counts it; it is reported with
// the kernel's counts, outlives every timeout while the kernel has it, and ends when the
// kernel reports its end.
func TestOffloadCounts(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		o := newOffloading(t, backend.FailOpen)
		c := o.open(v6)
		want := backend.FlowCount{Packets: [2]uint64{5000, 7000}, Bytes: [2]uint64{5e6, 7e9}}
		o.k.set(true, want)
		o.pass(5 * time.Second)
		if packets, bytes, _ := o.total(); packets != want.Packets || bytes != want.Bytes {
			t.Errorf("reported %v packets, %v bytes, want %+v", packets, bytes, want)
		}
		o.pass(time.Hour)
		if _, _, ended := o.total(); ended {
			t.Fatal("a connection in the kernel was ended by a timeout")
		}
		if o.k.drained > 3600/10 {
			t.Errorf("the kernel was asked %d times about a connection that carried nothing for an hour", o.k.drained)
		}
		want.Packets[0]++
		want.Bytes[0] += 40
		want.Over = true
		o.k.set(true, want)
		c.seq[0] += 5e6 // passed in the kernel
		o.give(c.seg(t, 0, "FA", ""))
		o.pass(time.Second)
		packets, bytes, ended := o.total()
		if !ended || packets != want.Packets || bytes != want.Bytes {
			t.Errorf("ended %v, %v packets, %v bytes, want the end and %+v", ended, packets, bytes, want)
		}
	})
}

// TestOffloadRecalled changes policy under an offloaded connection: its next packet is judged
// again, and refused with resets by the numbers of that packet.
func TestOffloadRecalled(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		o := newOffloading(t, backend.FailOpen)
		c := o.open(v6)
		o.allow(2)
		o.enforced(2)
		if got := o.k.recalls(); !slices.Equal(got, []uint32{1, 2}) {
			t.Fatalf("recalled %v, want at the attachment and with the second policy", got)
		}
		c.seq[0], c.seq[1] = c.seq[0]+3e9, c.seq[1]+2e9 // passed in the kernel, windows on
		if m := o.give(c.seg(t, 0, "PA", "more")); m[0] != 2 {
			t.Errorf("mark %d under the second policy, want 2", m[0])
		}
		o.policy(3, policy.Protect, policy.WorkloadSpec{})
		c.seq[0], c.seq[1] = c.seq[0]+1e9, c.seq[1]+2e9
		o.k.takeSent() // the sweep may have asked for these numbers
		f := c.seg(t, 0, "PA", "even more")
		f.Stamp = o.now.Load()
		if got := o.k.memQueue.give(f); got[0].Verdict.Action != packet.Drop || got[0].Verdict.Mark != 0 {
			t.Fatalf("verdict %+v under a policy that allows nothing", got[0].Verdict)
		}
		resets := 0
		for _, s := range o.k.takeSent() {
			tcp := layersOf(t, s).Layer(layers.LayerTypeTCP).(*layers.TCP)
			if !tcp.RST && tcp.ACK && len(tcp.Payload) == 0 {
				continue // the sweep asked for these numbers in between
			}
			resets++
			want := c.seq[1] // to the client: what it expects
			if s.Dir == packet.Egress {
				want = c.seq[0] - uint32(len("even more")) // the server never got this one
			}
			if !tcp.RST || tcp.Seq != want {
				t.Errorf("reset to %s has number %d, want %d", s.Dir, tcp.Seq, want)
			}
		}
		if resets != 2 {
			t.Errorf("%d resets sent, want one to each end", resets)
		}
	})
}

// TestOffloadStays lists sessions that must not be offloaded.
func TestOffloadStays(t *testing.T) {
	more := func(t *testing.T, o *offloading, c *conn, text string) []uint32 {
		t.Helper()
		frames := c.handshake(t)
		for range 30 {
			frames = append(frames, c.seg(t, 0, "PA", text), c.seg(t, 1, "PA", text))
		}
		return o.give(frames...)
	}
	tests := []struct {
		name string
		fail backend.FailMode
		with func(*offloading)
		text string
	}{
		{"an endpoint that fails closed", backend.FailClosed, nil, httpRequest},
		{"the kernel refuses", backend.FailOpen, func(o *offloading) { o.k.refuses = true }, httpRequest},
		{"not identified", backend.FailOpen, nil, ""},
		{"denied", backend.FailOpen, func(o *offloading) { o.policy(2, policy.Protect, policy.WorkloadSpec{}) }, httpRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffloading(t, tt.fail)
			if tt.with != nil {
				tt.with(o)
			}
			for i, m := range more(t, o, newConn(false, 40000, shopPort), tt.text) {
				if m != 0 {
					t.Fatalf("packet %d has mark %d, want none", i+1, m)
				}
			}
		})
	}
}

// TestOffloadForgotten continues a connection that the kernel discarded while it was idle.
func TestOffloadForgotten(t *testing.T) {
	o := newOffloading(t, backend.FailOpen)
	c := o.open(false)
	o.k.set(false, backend.FlowCount{})
	o.pass(10 * time.Second)
	before, _, _ := o.total()
	o.k.refuses = true
	o.give(c.seg(t, 0, "PA", "again"), c.seg(t, 1, "A", ""))
	o.pass(5 * time.Second)
	after, _, ended := o.total()
	if ended || after[0] != before[0]+1 || after[1] != before[1]+1 {
		t.Errorf("%v packets after %v, ended %v: want one more each way, not ended", after, before, ended)
	}
}

// TestOffloadBroken loses an endpoint whose flows cannot be recalled, so that none passes by
// an old verdict.
func TestOffloadBroken(t *testing.T) {
	o := newOffloading(t, backend.FailOpen)
	o.open(false)
	o.k.kmu.Lock()
	o.k.broken = errors.New("no memory")
	o.k.kmu.Unlock()
	o.allow(2)
	select {
	case id := <-o.e.Lost():
		if id != 1 {
			t.Errorf("endpoint %d is lost, want 1", id)
		}
	case <-time.After(10 * time.Second):
		t.Error("the endpoint is not lost")
	}
}
