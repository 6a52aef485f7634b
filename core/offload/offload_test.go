package offload_test

import (
	"errors"
	"net/netip"
	"sync"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/offload"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

const second = int64(1e9)

// kernel is an Offloader whose answers the test sets.
type kernel struct {
	count    backend.FlowCount
	refuses  bool
	unknown  bool
	asked    int
	returned []backend.FlowKey
}

func (k *kernel) Offload(*backend.FlowKey) (backend.FlowCount, bool) { return k.count, !k.refuses }
func (k *kernel) Drain(*backend.FlowKey) (backend.FlowCount, bool) {
	k.asked++
	return k.count, !k.unknown
}
func (k *kernel) Return(f *backend.FlowKey) { k.returned = append(k.returned, *f) }

// decided returns a session that can be offloaded.
func decided(proto uint8) *session.Session {
	return &session.Session{
		Key: session.Key{A: packet.AddrFrom(netip.MustParseAddr("10.0.0.1")), B: packet.AddrFrom(netip.MustParseAddr("10.0.0.2")), APort: 40000, BPort: 443, Workload: 1, Proto: proto},
		ID:  9, Endpoint: 3, ClientIsA: true, State: flow.PhaseEstablished, Packets: [2]uint64{20, 10}, Bytes: [2]uint64{2000, 1000},
		Marks: session.Identified, App: uint16(app.HTTP), Base: uint16(app.HTTP), Verdict: flow.Allow, Reason: flow.ByRule, Last: second,
	}
}

func TestDecided(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*session.Session)
		want   bool
	}{
		{"an allowed connection", func(*session.Session) {}, true},
		{"UDP", func(s *session.Session) { s.Key.Proto = packet.ProtoUDP; s.State = flow.NoPhase }, true},
		{"learned", func(s *session.Session) { s.Verdict = flow.Learn }, true},
		{"ICMP", func(s *session.Session) { s.Key.Proto = packet.ProtoICMP }, false},
		{"too short", func(s *session.Session) { s.Packets = [2]uint64{offload.After - 2, 1} }, false},
		{"being identified", func(s *session.Session) { s.Aux = 1 }, false},
		{"not identified", func(s *session.Session) { s.Marks = 0 }, false},
		{"refused by the kernel", func(s *session.Session) { s.Marks |= session.Stays }, false},
		{"closing", func(s *session.Session) { s.State = flow.PhaseClosing }, false},
		{"over", func(s *session.Session) { s.State = flow.PhaseReset }, false},
		{"DNS", func(s *session.Session) { s.App = uint16(app.DNS) }, false},
		{"over DNS", func(s *session.Session) { s.Base = uint16(app.DNS) }, false},
		{"denied", func(s *session.Session) { s.Verdict = flow.Deny }, false},
		{"pending", func(s *session.Session) { s.Verdict = flow.Pending }, false},
		{"without policy", func(s *session.Session) { s.Reason = flow.ByUnready }, false},
		{"by fail mode", func(s *session.Session) { s.Reason = flow.ByFailOpen }, false},
	} {
		s := decided(packet.ProtoTCP)
		tt.change(s)
		if got := offload.Decided(s); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestWithoutKernel(t *testing.T) {
	var o offload.Flows
	if o.Possible() {
		t.Error("flows leave without a kernel")
	}
	s := decided(packet.ProtoTCP)
	o.Settle(s, second)
	o.Return(s)
	if *s != *decided(packet.ProtoTCP) {
		t.Errorf("changed: %+v", s)
	}
}

// TestCountIsTheKernels has a connection that the kernel has counted from its first packet
// on: its count is used.
func TestCountIsTheKernels(t *testing.T) {
	k := &kernel{count: backend.FlowCount{Packets: [2]uint64{20, 10}, Bytes: [2]uint64{2000, 1000}}}
	o := offload.New(k)
	s := decided(packet.ProtoTCP)
	first := o.Leave(s)
	if again := o.Leave(s); !first || !again || s.Marks&session.Offloaded == 0 || o.Counts.Offloaded != 1 {
		t.Fatalf("it stays: %+v, %+v", s, o.Counts)
	}
	k.count = backend.FlowCount{Packets: [2]uint64{120, 40}, Bytes: [2]uint64{12000, 4000}}
	o.Seen(s, 100, 2*second) // this one is in the kernel's count
	if at := o.Recount(s, 3*second); at != 5*second || s.Packets != k.count.Packets || s.Bytes != k.count.Bytes || s.Last != 3*second {
		t.Errorf("queried again at %d s; %+v", at/second, s)
	}
	if want := (offload.Counts{Offloaded: 1, Packets: 129, Bytes: 12900}); o.Counts != want {
		t.Errorf("counted %+v, want %+v", o.Counts, want)
	}
	// An idle flow is queried less and less often.
	quiet := []int64{}
	for now := 5 * second; len(quiet) < 6; {
		at := o.Recount(s, now)
		quiet = append(quiet, (at-now)/second)
		now = at
	}
	if quiet[0] != 4 || quiet[1] != 8 || quiet[5] != 16 {
		t.Errorf("pauses of %v s, want 4, 8, then 16", quiet)
	}
}

// TestCountFromNowOn has a connection that the kernel counts from now on: its counts are
// added.
func TestCountFromNowOn(t *testing.T) {
	for _, midstream := range []bool{false, true} {
		k := &kernel{count: backend.FlowCount{Packets: [2]uint64{5, 5}, Bytes: [2]uint64{500, 500}}}
		s := decided(packet.ProtoTCP)
		if midstream {
			s.Flags |= session.Midstream
			k.count = backend.FlowCount{Packets: [2]uint64{1000, 1000}, Bytes: [2]uint64{1e6, 1e6}}
		}
		o := offload.New(k)
		o.Leave(s)
		k.count.Packets[0] += 7
		k.count.Bytes[0] += 700
		o.Recount(s, 2*second)
		if s.Packets != [2]uint64{27, 10} || s.Bytes != [2]uint64{2700, 1000} {
			t.Errorf("midstream %v: %v packets, %v bytes, want 7 more", midstream, s.Packets, s.Bytes)
		}
	}
}

func TestKernelRefuses(t *testing.T) {
	o := offload.New(&kernel{refuses: true})
	s := decided(packet.ProtoTCP)
	if o.Leave(s) || s.Marks&(session.Offloaded|session.Stays) != session.Stays {
		t.Errorf("marks %b, want it to stay", s.Marks)
	}
}

// TestEnds has the kernel see a connection end, with and without a reset that may have been
// accepted.
func TestEnds(t *testing.T) {
	k := &kernel{}
	o := offload.New(k)
	s := decided(packet.ProtoTCP)
	o.Leave(s)
	k.count.Over = true
	if at := o.Recount(s, 2*second); at != 0 || s.State != flow.PhaseClosed || s.Marks&session.Changed == 0 {
		t.Errorf("asked again at %d; %v", at, s.State)
	}
}

// TestForgotten has the kernel discard a connection: what reached the queue meanwhile is
// counted, and it continues.
func TestForgotten(t *testing.T) {
	k := &kernel{}
	o := offload.New(k)
	s := decided(packet.ProtoTCP)
	o.Leave(s)
	o.Seen(s, 60, 2*second)
	k.unknown = true
	if at := o.Recount(s, 3*second); at != 0 || s.Marks&session.Offloaded != 0 || s.Flags&session.Away == 0 || s.Packets[0] != 21 || s.Bytes[0] != 2060 || s.State != flow.PhaseEstablished {
		t.Errorf("asked again at %d: %+v", at, s)
	}
	s.State = flow.PhaseClosing
	s.Marks |= session.Offloaded // as if another worker had it
	o.Settle(s, 4*second)
	if s.State != flow.PhaseClosed {
		t.Errorf("closing, and forgotten by the kernel: %v, want closed", s.State)
	}
}

// TestSegments has an offloaded session's segments reach the queue.
func TestSegments(t *testing.T) {
	for _, tt := range []struct {
		flags  uint8
		ending bool
		asked  int
	}{{packet.ACK, false, 0}, {packet.FIN | packet.ACK, true, 0}, {packet.RST, true, 0}, {packet.SYN, true, 1}} {
		k := &kernel{}
		o := offload.New(k)
		s := decided(packet.ProtoTCP)
		o.Leave(s)
		if got := o.Segment(s, &packet.Packet{Flags: tt.flags}, second); got != tt.ending || k.asked != tt.asked || s.Flags&session.Away == 0 {
			t.Errorf("flags %b: ending %v, asked %d times, want %v, %d", tt.flags, got, k.asked, tt.ending, tt.asked)
		}
	}
}

// TestQuestionsAreBounded queries many flows in one batch.
func TestQuestionsAreBounded(t *testing.T) {
	k := &kernel{}
	o := offload.New(k)
	later := 0
	for i := range 1000 {
		s := decided(packet.ProtoTCP)
		s.ID = uint64(i + 1)
		o.Leave(s)
		if o.Recount(s, second) == second+session.Tick {
			later++
		}
	}
	if k.asked != 256 || later != 744 {
		t.Errorf("asked %d times, %d later, want 256 and 744", k.asked, later)
	}
	o.BeginBatch()
	s := decided(packet.ProtoTCP)
	s.ID = 5000
	o.Leave(s)
	if at := o.Recount(s, second); k.asked != 257 || at < second+int64(1000*100e3) {
		t.Errorf("asked %d times, again after %d ms; many flows are asked about less often", k.asked, (at-second)/1e6)
	}
}

// TestDeniedComesBack ends the offload when policy denies.
func TestDeniedComesBack(t *testing.T) {
	o := offload.New(&kernel{})
	s := decided(packet.ProtoTCP)
	o.Leave(s)
	s.Verdict = flow.Deny
	if at := o.Recount(s, second); at != 0 || s.Marks&session.Offloaded != 0 {
		t.Errorf("asked again at %d, marks %b", at, s.Marks)
	}
}

func TestReturn(t *testing.T) {
	k := &kernel{}
	o := offload.New(k)
	s := decided(packet.ProtoUDP)
	o.Return(s)
	o.Leave(s)
	o.Return(s)
	if len(k.returned) != 1 || k.returned[0] != offload.KeyOf(s) || k.returned[0].ServerPort != 443 || k.returned[0].Endpoint != 3 {
		t.Errorf("returned %+v, want the one that had left", k.returned)
	}
}

// attachment has queues whose flows can be offloaded.
type attachment struct {
	mu    sync.Mutex
	calls []uint32
	err   error
}

func (*attachment) Queues() []backend.Queue { return nil }
func (*attachment) Activate() error         { return nil }
func (*attachment) Close() error            { return nil }
func (*attachment) Stays() string           { return "no counters" }
func (a *attachment) Recall(g uint32) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, g)
	return a.err
}

// plain is an attachment whose flows cannot be offloaded.
type plain struct{ backend.Attachment }

func TestRecall(t *testing.T) {
	a := &attachment{}
	r := offload.NewRecall(a)
	for _, g := range []uint32{0, 1, 1, 2} {
		if err := r.To(g); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.calls) != 2 || a.calls[0] != 1 || a.calls[1] != 2 {
		t.Errorf("recalled %v, want each generation once", a.calls)
	}
	a.err = errors.New("no memory")
	for range 2 { // one that failed is tried again
		if err := r.To(3); !errors.Is(err, a.err) {
			t.Errorf("got %v", err)
		}
	}
	r.Close()
	if err := r.To(4); err != nil || len(a.calls) != 4 {
		t.Errorf("recalled after Close: %v, %v", err, a.calls)
	}
	if got := r.Stays(backend.FailOpen); got != "no counters" {
		t.Errorf("stays because %q", got)
	}
	if got := r.Stays(backend.FailClosed); got != "its group fails closed" {
		t.Errorf("stays because %q", got)
	}
	none := offload.NewRecall(plain{a})
	if err := none.To(9); err != nil || none.Stays(backend.FailClosed) != "" {
		t.Errorf("an attachment without such queues: %v, %q", err, none.Stays(backend.FailClosed))
	}
}
