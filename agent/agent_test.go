package agent_test

import (
	"context"
	"errors"
	"iter"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/sluicenet/sluice/agent"
	"github.com/sluicenet/sluice/agent/workload"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/internal/specstore"
	"github.com/sluicenet/sluice/internal/stage/testnet"
	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/embedded"
)

// dataplane is an engine that records its calls.
type dataplane struct {
	mu       sync.Mutex
	eps      map[uint32]backend.Endpoint
	version  uint64
	table    *policy.Table
	calls    []string
	sockets  map[uint32]*role.Sockets
	failKind backend.Kind // Attach of this kind fails
	failSide func(backend.Side) bool
	lost     chan uint32
	detached time.Time // when an endpoint was detached last
}

func (d *dataplane) Attach(_ context.Context, _ backend.Backend, ep backend.Endpoint, w string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ep.Kind == d.failKind || ep.Kind == backend.Inline && d.failSide != nil && d.failSide(ep.Hook.Side) {
		return errors.New("no " + ep.Kind.String())
	}
	d.eps[ep.ID] = ep
	d.calls = append(d.calls, ep.Kind.String()+" "+w)
	return nil
}

func (d *dataplane) Detach(id uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, "detach "+d.eps[id].Kind.String())
	delete(d.eps, id)
	d.detached = time.Now()
	return nil
}

func (d *dataplane) Apply(t *policy.Table) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.version, d.table = t.Version(), t
	d.calls = append(d.calls, "apply")
}

func (d *dataplane) Lost() <-chan uint32 { return d.lost }

func (d *dataplane) SetSockets(ep uint32, s *role.Sockets) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sockets[ep] = s
}

func (*dataplane) SetHeld(uint32, []role.Tuple, []role.Tuple) {}

func (*dataplane) Remember(*role.Memory) {}

func (*dataplane) Drain(func(*flow.Record)) int     { return 0 }
func (*dataplane) Threats(func(*report.Threat)) int { return 0 }
func (*dataplane) Stats() engine.Stats              { return engine.Stats{} }

// kinds is how many endpoints are attached in which way.
func (d *dataplane) kinds() map[backend.Kind]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := map[backend.Kind]int{}
	for _, ep := range d.eps {
		m[ep.Kind]++
	}
	return m
}

// collector is a controller that keeps the last report it received.
type collector struct {
	controlv1.CollectorClient
	mu        sync.Mutex
	workloads []*controlv1.Workload
	status    *controlv1.ReportStatusRequest
}

func (c *collector) ReportWorkloads(_ context.Context, r *controlv1.ReportWorkloadsRequest, _ ...grpc.CallOption) (*controlv1.ReportWorkloadsResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workloads = r.Workloads
	return &controlv1.ReportWorkloadsResponse{}, nil
}

func (c *collector) RegisterNode(_ context.Context, r *controlv1.RegisterNodeRequest, _ ...grpc.CallOption) (*controlv1.RegisterNodeResponse, error) {
	return &controlv1.RegisterNodeResponse{Granted: !r.Release, Owner: r.Self}, nil
}

func (c *collector) ReportStatus(_ context.Context, r *controlv1.ReportStatusRequest, _ ...grpc.CallOption) (*controlv1.ReportStatusResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = r
	return &controlv1.ReportStatusResponse{}, nil
}

func (c *collector) ReportConnections(_ context.Context, r *controlv1.ReportConnectionsRequest, _ ...grpc.CallOption) (*controlv1.ReportConnectionsResponse, error) {
	return &controlv1.ReportConnectionsResponse{Sequence: r.Sequence}, nil
}

// source reports what a test puts into it.
type source chan workload.Event

func (s source) Watch(ctx context.Context) iter.Seq2[workload.Event, error] {
	return func(yield func(workload.Event, error) bool) {
		for {
			select {
			case e := <-s:
				if !yield(e, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

type lab struct {
	t       *testing.T
	plane   *dataplane
	coll    *collector
	store   store.Store
	source  source
	data    string
	version uint64
	config  agent.Config // what is there counts before what start sets
	stop    func()
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, data: t.TempDir(), source: make(source)}
	st, err := embedded.Open(filepath.Join(l.data, "store.db"), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	l.store = st
	l.start()
	return l
}

func (l *lab) start() {
	l.plane = &dataplane{lost: make(chan uint32), eps: map[uint32]backend.Endpoint{}, sockets: map[uint32]*role.Sockets{}}
	l.coll = &collector{}
	cfg := l.config
	cfg.Node, cfg.Sources, cfg.Engine, cfg.Store, cfg.Collector, cfg.Data, cfg.Version = "n1", []workload.Source{l.source}, l.plane, l.store, l.coll, l.data, "test"
	a := agent.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Error(err)
		}
	})
	l.t.Cleanup(l.stop)
}

// put gives the node a policy with the modes of workloads.
func (l *lab) put(modes map[string]policy.Mode) {
	l.t.Helper()
	l.chosen(modes, nil)
}

// chosen is put with backends that users chose.
func (l *lab) chosen(modes map[string]policy.Mode, backends map[string]string) {
	l.t.Helper()
	l.version++
	s := &policy.Spec{Version: l.version, Groups: []policy.GroupSpec{{Name: "any", Any: true}}, Identities: []policy.IdentitySpec{{}}}
	for id, m := range modes {
		s.Workloads = append(s.Workloads, policy.WorkloadSpec{ID: id, Mode: m, Backend: backends[id]})
	}
	if err := specstore.Write(l.t.Context(), l.store, "n1", s); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) until(what string, ok func() bool) {
	l.t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatalf("never: %s (attached %v)", what, l.plane.kinds())
		}
	}
}

// enforced reports whether status shows the newest version.
func (l *lab) enforced() bool {
	l.coll.mu.Lock()
	defer l.coll.mu.Unlock()
	return l.coll.status != nil && l.coll.status.Policy == l.version
}

// event is a testnet workload as a source reports it.
func event(w *testnet.Workload) workload.Event {
	return workload.Event{Kind: workload.Added, Workload: workload.Workload{ID: "netns:" + w.Name, Name: w.Name, Namespace: "default", Service: w.Name, NetNS: w.Path, Node: "n1",
		Interfaces: []workload.Interface{{Name: w.Interface, Index: w.Index, MAC: net.HardwareAddr(w.MAC[:]).String(), Kind: "veth", Addresses: []netip.Prefix{netip.PrefixFrom(w.IPv4, 24)}}}}}
}

func TestModes(t *testing.T) {
	testnet.RequireRoot(t)
	b := testnet.New(t).Bridge("web", "db")
	l := newLab(t)
	web, db := "netns:"+b.Workloads[0].Name, "netns:"+b.Workloads[1].Name
	listener := b.Workloads[0].Listen("tcp", b.Workloads[0].Addr("tcp", 8080))
	defer listener.Close()
	b.Workloads[0].ListenPacket("udp6", b.Workloads[0].Addr("udp6", 5353))
	for _, w := range b.Workloads {
		l.source <- event(w)
	}
	l.source <- workload.Event{Kind: workload.Synced}
	l.until("both tapped", func() bool { return l.plane.kinds()[backend.Tap] == 2 })
	l.until("workloads reported", func() bool {
		l.coll.mu.Lock()
		defer l.coll.mu.Unlock()
		return len(l.coll.workloads) == 2 && l.coll.workloads[0].Interfaces[0].Backend == "tap"
	})

	l.put(map[string]policy.Mode{web: policy.Protect, db: policy.Monitor})
	l.until("the policy enforced", l.enforced)
	if got := l.plane.kinds(); got[backend.Inline] != 1 || got[backend.Tap] != 1 {
		t.Errorf("attached %v when the policy was reported as enforced, want one inline", got)
	}
	if c := strings.Join(l.plane.calls[len(l.plane.calls)-2:], ", "); c != "apply, inline "+web {
		t.Errorf("last calls %q: the table must come before the attachment", c)
	}
	for id, ep := range l.plane.eps {
		if ep.Kind == backend.Inline && (ep.Hook.NetNS != b.Host.Path || ep.Hook.Interface != b.Workloads[0].HostInterface) {
			t.Errorf("endpoint %d is hooked at %+v, want %s in %s", id, ep.Hook, b.Workloads[0].HostInterface, b.Host.Name)
		}
	}
	l.until("listeners reported", func() bool {
		l.plane.mu.Lock()
		defer l.plane.mu.Unlock()
		got := map[role.Port]bool{}
		for _, x := range l.plane.sockets {
			for y := range x.Listening {
				got[y] = true
			}
		}
		return maps.Equal(got, map[role.Port]bool{{Proto: 6, Port: 8080}: true, {Proto: 17, Port: 5353}: true})
	})

	for id := range l.plane.eps {
		l.plane.Detach(id) // its queue ended by itself: no caller asked for it
		l.plane.lost <- id
		break
	}
	l.until("what was lost attached again", func() bool { k := l.plane.kinds(); return k[backend.Inline]+k[backend.Tap] == 2 })

	l.put(map[string]policy.Mode{web: policy.Discover, db: policy.Monitor})
	l.until("tapped again", func() bool { return l.enforced() && l.plane.kinds()[backend.Tap] == 2 })
	l.source <- workload.Event{Kind: workload.Removed, Workload: workload.Workload{ID: db}}
	l.until("a removed workload detached", func() bool { return l.plane.kinds()[backend.Tap] == 1 })
	l.stop()
	if n := len(l.plane.eps); n != 0 {
		t.Errorf("%d endpoints attached after the end", n)
	}
}

func TestAttachFails(t *testing.T) {
	testnet.RequireRoot(t)
	b := testnet.New(t).Bridge("web")
	l := newLab(t)
	l.plane.failKind = backend.Inline
	web := "netns:" + b.Workloads[0].Name
	l.put(map[string]policy.Mode{web: policy.Protect})
	l.until("the policy applied", l.enforced)
	l.source <- event(b.Workloads[0])
	l.source <- workload.Event{Kind: workload.Synced}
	l.until("the error reported", func() bool {
		l.coll.mu.Lock()
		defer l.coll.mu.Unlock()
		return l.coll.status != nil && strings.Contains(l.coll.status.WorkloadErrors[web], "no inline; its policy is not enforced, only watched")
	})
	if l.plane.kinds()[backend.Tap] != 1 {
		t.Error("what cannot be enforced is not watched either")
	}
	l.plane.mu.Lock()
	l.plane.failKind = backend.NoKind
	l.plane.mu.Unlock()
	l.until("attached by a later try", func() bool { return l.plane.kinds()[backend.Inline] == 1 })
	l.until("the error gone", func() bool {
		l.coll.mu.Lock()
		defer l.coll.mu.Unlock()
		return len(l.coll.status.WorkloadErrors) == 0
	})
}

// TestNewcomer checks that a workload of a protected group is attached inline as soon as it is there, before
// the policy lists it, and that the policy in force knows it and its address.
func TestNewcomer(t *testing.T) {
	testnet.RequireRoot(t)
	b := testnet.New(t).Bridge("web", "other")
	l := newLab(t)
	w, other := event(b.Workloads[0]), event(b.Workloads[1])
	l.version = 1
	s := &policy.Spec{Version: 1, Groups: []policy.GroupSpec{{Name: "any", Any: true}, {Name: w.Workload.Group()}}, Identities: []policy.IdentitySpec{{}, {Groups: []uint32{1}}},
		Newcomers: []policy.NewcomerSpec{{}, {Group: w.Workload.Group(), WorkloadSpec: policy.WorkloadSpec{Identity: 1, Mode: policy.Protect}}}}
	if err := specstore.Write(t.Context(), l.store, "n1", s); err != nil {
		t.Fatal(err)
	}
	l.until("the policy applied", l.enforced)
	l.source <- w
	l.source <- other
	l.source <- workload.Event{Kind: workload.Synced}
	l.until("both attached", func() bool { k := l.plane.kinds(); return k[backend.Inline] == 1 && k[backend.Tap] == 1 })
	addr := packet.AddrFrom(b.Workloads[0].IPv4)
	l.plane.mu.Lock()
	if c := strings.Join(l.plane.calls, ", "); strings.Contains(c, "tap "+w.Workload.ID) {
		t.Errorf("calls %q: it must go inline at once", c)
	}
	if now := l.plane.table; now.Version() != 1 || now.Identity(addr, false) != 1 {
		t.Errorf("version %d knows the address as %d", now.Version(), now.Identity(addr, false))
	}
	l.plane.mu.Unlock()

	l.source <- workload.Event{Kind: workload.Removed, Workload: workload.Workload{ID: w.Workload.ID}}
	l.until("it is gone", func() bool { return l.plane.kinds()[backend.Inline] == 0 })
	l.put(map[string]policy.Mode{})
	l.until("the next policy", l.enforced)
	l.plane.mu.Lock()
	defer l.plane.mu.Unlock()
	if got := l.plane.table.Identity(addr, false); got != 0 {
		t.Errorf("the next policy has no such group, and yet its address is %d", got)
	}
}

// TestPolicyKept checks that a start without a store enforces the last good policy.
func TestPolicyKept(t *testing.T) {
	testnet.RequireRoot(t)
	b := testnet.New(t).Bridge("web")
	l := newLab(t)
	l.put(map[string]policy.Mode{"netns:" + b.Workloads[0].Name: policy.Protect})
	l.until("the policy enforced", l.enforced)
	l.until("the policy kept", func() bool {
		m, _ := filepath.Glob(filepath.Join(l.data, "policy-n1.json"))
		return len(m) == 1
	})
	l.stop()
	if err := l.store.Close(); err != nil {
		t.Fatal(err)
	}
	l.start()
	l.source <- event(b.Workloads[0])
	l.until("inline at once", func() bool { return l.plane.kinds()[backend.Inline] == 1 })
	for _, c := range l.plane.calls {
		if strings.HasPrefix(c, "tap") {
			t.Errorf("calls %v, want no tap in between", l.plane.calls)
		}
	}
}
