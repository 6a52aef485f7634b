package uplink_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/sluicenet/sluice/agent/uplink"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/report"
)

// collector takes reports the way a controller does: a sequence counts once.
type collector struct {
	controlv1.UnimplementedCollectorServer
	mu      sync.Mutex
	seen    map[uint64]bool
	conns   []*controlv1.Connection
	threats []*controlv1.ThreatRecord
	rows    []*controlv1.Unjudged
	drops   map[string]uint64
	// fail makes calls fail: before taking the request, or after (the answer is lost).
	fail  func(call int) (before, after bool)
	calls int
	twice int
}

func (c *collector) ReportConnections(_ context.Context, r *controlv1.ReportConnectionsRequest) (*controlv1.ReportConnectionsResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	before, after := false, false
	if c.fail != nil {
		before, after = c.fail(c.calls)
	}
	if before {
		return nil, errors.New("away")
	}
	if c.seen[r.Sequence] {
		c.twice++
	} else {
		c.seen[r.Sequence] = true
		c.conns = append(c.conns, r.Connections...)
		c.threats = append(c.threats, r.Threats...)
		c.rows = append(c.rows, r.Unjudged...)
		for k, v := range r.Dropped {
			c.drops[k] += v
		}
	}
	if after {
		return nil, errors.New("answer lost")
	}
	return &controlv1.ReportConnectionsResponse{Sequence: r.Sequence}, nil
}

// sums are the sessions, ends and bytes that arrived.
func (c *collector) sums() (began, ended, bytes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.conns {
		began += x.Sessions
		ended += x.Ended
		bytes += x.BytesOut + x.BytesIn
	}
	return began, ended, bytes
}

// serve starts the collector and gives a client of it.
func (c *collector) serve(t testing.TB) controlv1.CollectorClient {
	t.Helper()
	c.seen, c.drops = map[uint64]bool{}, map[string]uint64{}
	l := bufconn.Listen(1 << 20)
	s := grpc.NewServer()
	controlv1.RegisterCollectorServer(s, c)
	go func() { _ = s.Serve(l) }()
	cc, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close(); s.Stop() })
	return controlv1.NewCollectorClient(cc)
}

// records is an engine that reports what it was given.
type records struct {
	mu      sync.Mutex
	flows   []flow.Record
	threats []report.Threat
}

func (r *records) put(fs ...flow.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flows = append(r.flows, fs...)
}

func (r *records) Drain(fn func(*flow.Record)) int {
	r.mu.Lock()
	fs := r.flows
	r.flows = nil
	r.mu.Unlock()
	for i := range fs {
		fn(&fs[i])
	}
	return len(fs)
}

func (r *records) Threats(fn func(*report.Threat)) int {
	r.mu.Lock()
	ts := r.threats
	r.threats = nil
	r.mu.Unlock()
	for i := range ts {
		fn(&ts[i])
	}
	return len(ts)
}

func start(t testing.TB, r *records, client controlv1.CollectorClient, limit int) (*uplink.Uplink, func()) {
	t.Helper()
	u := uplink.New(uplink.Config{Records: r, Collector: client, Node: "n", Run: "b", Interval: 10 * time.Millisecond, MaxKinds: limit,
		Workload: func(ep uint32) string { return map[uint32]string{1: "netns:web"}[ep] }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); u.Run(ctx) }()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return u, stop
}

func addr(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

// record is a record of session n, from web to a server.
func record(n uint64, k flow.Kind, edit func(*flow.Record)) flow.Record {
	f := flow.Record{Session: n, Endpoint: 1, Kind: k, Key: flow.Key{Client: addr("10.0.0.1"), Server: addr("10.0.0.2"), ClientPort: uint16(30000 + n), ServerPort: 80, Proto: 6},
		Dir: packet.Egress, Verdict: flow.Learn, Reason: flow.ByDefault, App: uint16(app.HTTP), Base: uint16(app.HTTP), First: 100, Last: 200,
		Counters: flow.Counters{Packets: [2]uint64{1, 1}, Bytes: [2]uint64{10, 20}}, Phase: flow.PhaseEstablished, Outcome: flow.OutcomeEstablished}
	if edit != nil {
		edit(&f)
	}
	return f
}

func undecided(f *flow.Record) {
	f.App, f.Base, f.Phase, f.Outcome = uint16(app.Undecided), uint16(app.Undecided), flow.PhaseOpening, flow.OutcomeOpening
}

func TestMerge(t *testing.T) {
	v6 := func(f *flow.Record) { f.IPv6, f.Client, f.Server = true, addr("fd00::1"), addr("fd00::2") }
	tests := []struct {
		name   string
		flows  []flow.Record
		conns  int
		began  uint64
		single bool // every connection names its session
		drops  map[string]uint64
	}{
		{"one session reported three times", []flow.Record{record(1, flow.Start, undecided), record(1, flow.Update, nil), record(1, flow.End, nil)}, 1, 1, true, nil},
		{"two of a kind", []flow.Record{record(1, flow.Start, nil), record(2, flow.Start, nil)}, 1, 2, false, nil},
		{"two families", []flow.Record{record(1, flow.Start, nil), record(2, flow.Start, v6)}, 2, 2, true, nil},
		{"two verdicts", []flow.Record{record(1, flow.Start, nil), record(2, flow.Start, func(f *flow.Record) { f.Verdict = flow.Deny })}, 2, 2, true, nil},
		{"still undecided", []flow.Record{record(1, flow.Start, undecided)}, 1, 1, true, nil},
		{"unknown endpoint", []flow.Record{record(1, flow.Start, func(f *flow.Record) { f.Endpoint = 9 })}, 0, 0, true, map[string]uint64{"unknown_endpoint": 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &collector{}
			r := &records{}
			r.put(tt.flows...)
			_, stop := start(t, r, c.serve(t), 0)
			stop()
			began, _, _ := c.sums()
			if len(c.conns) != tt.conns || began != tt.began {
				t.Fatalf("%d connections of %d sessions, want %d of %d", len(c.conns), began, tt.conns, tt.began)
			}
			for _, x := range c.conns {
				if (x.Session != 0) != tt.single {
					t.Errorf("session %d, want one named: %t", x.Session, tt.single)
				}
				if n := len(x.Client); n != 4 && n != 16 {
					t.Errorf("client address of %d bytes", n)
				}
			}
			for k, v := range tt.drops {
				if c.drops[k] != v {
					t.Errorf("dropped %v, want %v", c.drops, tt.drops)
				}
			}
		})
	}
}

func TestAttributes(t *testing.T) {
	c, r := &collector{}, &records{}
	r.put(record(1, flow.Start, func(f *flow.Record) {
		f.Detail = &flow.Detail{Attrs: []flow.Pair{{Key: "host", Value: "a\xffb"}, {Key: "method", Value: "GET"}}}
	}), record(1, flow.End, nil))
	_, stop := start(t, r, c.serve(t), 0)
	stop()
	if len(c.conns) != 1 || c.conns[0].Attrs["host"] != "a\ufffdb" || c.conns[0].Attrs["method"] != "GET" {
		t.Errorf("connections %v, want one with both attributes, as valid text", c.conns)
	}
}

// TestCollectorAway has every third call fail before and every fifth after it was taken, and
// no controller at first: nothing is lost and nothing is counted twice.
func TestCollectorAway(t *testing.T) {
	c := &collector{fail: func(n int) (bool, bool) { return n < 4 || n%3 == 0, n%5 == 0 }}
	r := &records{}
	u, stop := start(t, r, c.serve(t), 0)
	const sessions = 300
	for n := uint64(1); n <= sessions; n++ {
		r.put(record(n, flow.Start, func(f *flow.Record) { undecided(f); f.ServerPort = uint16(n % 50) }))
		r.put(record(n, flow.Update, func(f *flow.Record) { f.ServerPort = uint16(n % 50) }), record(n, flow.End, func(f *flow.Record) { f.ServerPort = uint16(n % 50) }))
		if n%10 == 0 {
			time.Sleep(5 * time.Millisecond) // spreads the records over many requests
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for began, ended, bytes := c.sums(); began != sessions || ended != sessions || bytes != sessions*90; began, ended, bytes = c.sums() {
		if time.Now().After(deadline) {
			t.Fatalf("%d began, %d ended, %d bytes, want %d, %d, %d", began, ended, bytes, sessions, sessions, sessions*90)
		}
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	if began, _, _ := c.sums(); began != sessions {
		t.Errorf("%d began, want %d", began, sessions)
	}
	if c.twice == 0 || u.Stats().Retries == 0 {
		t.Errorf("%d requests came twice, %d retries: the test provoked nothing", c.twice, u.Stats().Retries)
	}
}

func TestBounded(t *testing.T) {
	away := true
	c := &collector{}
	c.fail = func(int) (bool, bool) { return away, false }
	r := &records{}
	u, _ := start(t, r, c.serve(t), 10)
	for n := uint64(1); n <= 100; n++ {
		r.put(record(n, flow.Start, func(f *flow.Record) { f.ServerPort = uint16(n) }))
	}
	for end := time.Now().Add(5 * time.Second); u.Stats().Dropped == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	c.mu.Lock()
	away = false
	c.mu.Unlock()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		began, _, _ := c.sums()
		c.mu.Lock()
		lost := c.drops["uplink_full"]
		c.mu.Unlock()
		if began+lost == 100 && lost > 0 {
			return
		}
	}
	t.Errorf("%d connections and %v dropped, want 100 together", len(c.conns), c.drops)
}

// TestSoon checks that a record is at the collector within a second at the usual interval, even
// where its application is not known.
func TestSoon(t *testing.T) {
	c, r := &collector{}, &records{}
	u := uplink.New(uplink.Config{Records: r, Collector: c.serve(t), Node: "n", Run: "b", Workload: func(uint32) string { return "w" }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); u.Run(ctx) }()
	defer func() { cancel(); <-done }()
	begin := time.Now()
	r.put(record(1, flow.Start, undecided))
	for n := uint64(0); n == 0; n, _, _ = c.sums() {
		if time.Since(begin) > time.Second {
			t.Fatal("not there after a second")
		}
		time.Sleep(time.Millisecond)
	}
}

// BenchmarkFlows is the cost of one connection (start, identified, end) from the engine's record
// to the collector's acknowledgement, with 100 kinds.
func BenchmarkFlows(b *testing.B) {
	c, r := &collector{}, &records{}
	_, stop := start(b, r, c.serve(b), 0)
	b.ReportAllocs()
	for n := range b.N {
		id, port := uint64(n+1), uint16(n%100)
		r.put(record(id, flow.Start, func(f *flow.Record) { undecided(f); f.ServerPort = port }), record(id, flow.Update, func(f *flow.Record) { f.ServerPort = port }),
			record(id, flow.End, func(f *flow.Record) { f.ServerPort = port }))
	}
	stop()
	if began, _, _ := c.sums(); began != uint64(b.N) {
		b.Fatalf("%d sessions arrived, want %d", began, b.N)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "flows/s")
}
