package controller_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/specstore"
	"github.com/sluicenet/sluice/internal/vocab"
	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/embedded"
)

// lab is a controller on a store in a file, served over gRPC in memory.
type lab struct {
	t         testing.TB
	path      string
	store     store.Store
	control   controlv1.ControlClient
	collector controlv1.CollectorClient
	stop      func()
	killed    atomic.Bool // the store was closed under the controller
	log       *logBuffer
	sequence  uint64 // of the last report, in tests that count
	journal   bool   // reports are stored before they are acknowledged
	sole      bool   // the store is the controller's own, as standalone's
	// commit, where it is set, is asked before each Commit of the controller.
	commit func(ops []store.Op) error
}

// logBuffer keeps what a controller logs.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// asked is a store that asks before each Commit.
type asked struct {
	store.Store
	before func(ops []store.Op) error
}

func (a asked) Commit(ctx context.Context, ops ...store.Op) (store.Revision, error) {
	if err := a.before(ops); err != nil {
		return 0, err
	}
	return a.Store.Commit(ctx, ops...)
}

func newLab(t testing.TB) *lab {
	l := &lab{t: t, log: new(logBuffer), path: filepath.Join(t.TempDir(), embedded.FileName)}
	l.start()
	t.Cleanup(func() { l.stop() })
	return l
}

// start runs a controller on the lab's file.
func (l *lab) start() {
	l.t.Helper()
	st, err := embedded.Open(l.path, embedded.Options{})
	if err != nil {
		l.t.Fatal(err)
	}
	var used store.Store = st
	if l.commit != nil {
		used = asked{st, l.commit}
	}
	c, err := controller.New(controller.Config{Store: used, Version: "test", Journal: l.journal, Sole: l.sole, Logger: slog.New(slog.NewTextHandler(l.log, nil))})
	if err != nil {
		l.t.Fatal(err)
	}
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	c.Register(server)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) { // stopped before it began
			l.t.Errorf("serve: %v", err)
		}
	})
	wg.Go(func() {
		if err := c.Run(ctx); err != nil && !l.killed.Load() {
			l.t.Errorf("run: %v", err)
		}
	})
	conn, err := grpc.NewClient("passthrough:///lab", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		l.t.Fatal(err)
	}
	l.store, l.control, l.collector = st, controlv1.NewControlClient(conn), controlv1.NewCollectorClient(conn)
	l.stop = sync.OnceFunc(func() {
		conn.Close()
		server.Stop()
		cancel()
		wg.Wait()
		if err := c.Close(); err != nil && !l.killed.Load() {
			l.t.Errorf("close controller: %v", err)
		}
		if err := st.Close(); err != nil {
			l.t.Errorf("close store: %v", err)
		}
	})
}

// restart stops the controller and runs another on the same file.
func (l *lab) restart() {
	l.t.Helper()
	l.stop()
	l.start()
}

// crash is restart for a controller that can write nothing any more, as when it is killed.
func (l *lab) crash() {
	l.t.Helper()
	l.killed.Store(true)
	l.store.Close()
	l.stop()
	l.killed.Store(false)
	l.start()
}

// must fails the test on an error.
func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// eventually waits until fn holds.
func eventually(t testing.TB, what string, fn func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !fn(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// workload is a workload of a namespace, with its addresses as CIDRs.
func workload(name string, cidrs ...string) *controlv1.Workload {
	return &controlv1.Workload{
		Id: "netns:" + name, Name: name, Namespace: "default", Service: name, Netns: "/run/netns/" + name, Source: "netns",
		Interfaces: []*controlv1.Interface{{Name: "eth0", Index: 2, Kind: "veth", Addresses: cidrs}},
	}
}

// shop is the workloads that most tests speak of.
func (l *lab) shop(node string) {
	l.t.Helper()
	_, err := l.collector.ReportWorkloads(l.t.Context(), &controlv1.ReportWorkloadsRequest{Node: node, Run: "boot-1", NodeAddresses: []string{"192.0.2.1"},
		Workloads: []*controlv1.Workload{
			workload("web", "10.7.0.2/24", "fd07::2/64"), workload("api", "10.7.0.3/24", "fd07::3/64"), workload("db", "10.7.0.4/24", "fd07::4/64"),
		}})
	if err != nil {
		l.t.Fatal(err)
	}
}

func bytesOf(addr string) []byte { return netip.MustParseAddr(addr).AsSlice() }

// seen is a TCP connection as the named workload's end reports it.
func seen(name string, egress bool, client, server string, port uint32, id app.ID, v flow.Verdict) *controlv1.Connection {
	now := time.Now().UnixNano()
	reason := flow.ByDefault
	if v == flow.Allow {
		reason = flow.ByRule
	}
	return &controlv1.Connection{
		Workload: "netns:" + name, Egress: egress, Client: bytesOf(client), Server: bytesOf(server), Proto: 6, ServerPort: port,
		ClientPort: 40000, App: uint32(id), Base: uint32(id.Base()), Strength: 3, Verdict: vocab.Verdict(v), Reason: vocab.Reason(reason),
		Sessions: 1, PacketsOut: 5, PacketsIn: 4, BytesOut: 500, BytesIn: 4000, First: now, Last: now, Ended: 1,
		Evidence: vocab.Evidence(flow.EvidenceHandshake), Outcome: vocab.Outcome(flow.OutcomeClosed), Answered: true,
	}
}

// report sends connections as one request.
func (l *lab) report(node string, sequence uint64, conns ...*controlv1.Connection) {
	l.t.Helper()
	r, err := l.collector.ReportConnections(l.t.Context(), &controlv1.ReportConnectionsRequest{
		Node: node, Run: "boot-1", Sequence: sequence, Connections: conns})
	if err != nil {
		l.t.Fatal(err)
	}
	if r.Sequence != sequence {
		l.t.Fatalf("sequence: got %d, want %d", r.Sequence, sequence)
	}
}

// agent watches a node's policy as an agent does and reports that it enforces it. It attaches
// what the policy asks for. The last Table is what it enforces.
type agent struct {
	mu    sync.Mutex
	table *policy.Table
}

func (a *agent) current() *policy.Table {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.table
}

// agent runs an agent until the test's context ends or the store closes.
func (l *lab) agent(node string) *agent {
	a := new(agent)
	ctx, cancel := context.WithCancel(l.t.Context())
	var wg sync.WaitGroup
	l.t.Cleanup(func() { cancel(); wg.Wait() })
	st, collector := l.store, l.collector
	wg.Go(func() {
		for s, err := range specstore.Watch(ctx, st, node) {
			if err != nil {
				return
			}
			table, err := policy.Compile(s)
			if err != nil {
				l.t.Errorf("the policy does not compile: %v", err)
				return
			}
			a.mu.Lock()
			a.table = table
			a.mu.Unlock()
			attached := make(map[string]string)
			for _, w := range s.Workloads {
				attached[w.ID+"/eth0"] = map[bool]string{true: "inline", false: "tap"}[w.Mode == policy.Protect]
			}
			_, err = collector.ReportStatus(ctx, &controlv1.ReportStatusRequest{Node: node, Run: "boot-1", Policy: s.Version, Attached: attached})
			if err != nil {
				return
			}
		}
	})
	return a
}
