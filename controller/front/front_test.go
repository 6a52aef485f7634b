package front_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/front"
	"github.com/sluicenet/sluice/internal/mtls"
)

// cluster is the leadership of a store.
type cluster struct {
	mu     sync.Mutex
	holder *replica
	free   chan struct{} // closed and replaced when there is no leader
	alone  func() *controlv1.StatusResponse
}

// replica is one controller behind its front.
type replica struct {
	controlv1.UnimplementedControlServer
	controlv1.UnimplementedCollectorServer
	c       *cluster
	name    string
	address string
	socket  string
	lost    chan struct{}
	taken   []uint64 // guarded by c.mu
}

var errLost = errors.New("lost")

func (r *replica) Register(s grpc.ServiceRegistrar) {
	controlv1.RegisterControlServer(s, r)
	controlv1.RegisterCollectorServer(s, r)
}

func (r *replica) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-r.lost:
		return errLost
	}
}

func (r *replica) Close() error { r.c.release(r); return nil }

func (r *replica) Status(context.Context, *controlv1.StatusRequest) (*controlv1.StatusResponse, error) {
	return &controlv1.StatusResponse{Version: r.name}, nil
}

func (r *replica) ReportConnections(_ context.Context, q *controlv1.ReportConnectionsRequest) (*controlv1.ReportConnectionsResponse, error) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.taken = append(r.taken, q.Sequence)
	return &controlv1.ReportConnectionsResponse{Sequence: q.Sequence}, nil
}

func (r *replica) Observe(_ *controlv1.ObserveRequest, s grpc.ServerStreamingServer[controlv1.Event]) error {
	for _, text := range []string{"one", "two", "three"} {
		if err := s.Send(&controlv1.Event{Text: text}); err != nil {
			return err
		}
	}
	return status.Error(codes.ResourceExhausted, "that is all")
}

func (c *cluster) release(r *replica) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holder == r {
		c.holder = nil
		close(c.free)
		c.free = make(chan struct{})
	}
}

func (c *cluster) lead(ctx context.Context, r *replica) (front.Leading, error) {
	if r.lost != nil {
		time.Sleep(100 * time.Millisecond) // others come first
	}
	for {
		c.mu.Lock()
		if c.holder == nil {
			c.holder, r.lost = r, make(chan struct{})
			c.mu.Unlock()
			return r, nil
		}
		free := c.free
		c.mu.Unlock()
		select {
		case <-free:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *cluster) leader(context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holder == nil {
		return "", nil
	}
	return c.holder.address, nil
}

// start runs a replica behind a front until stop is called.
func (c *cluster) start(t *testing.T, certs, name string) (r *replica, stop func()) {
	t.Helper()
	files, err := mtls.Load(filepath.Join(certs, name), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r = &replica{c: c, name: name, address: tcp.Addr().String(), socket: filepath.Join(t.TempDir(), "s")}
	unix, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	f := front.New(front.Config{Doors: []front.Door{{Listener: tcp, Creds: files.Server()}, {Listener: unix}},
		Lead: func(ctx context.Context) (front.Leading, error) { return c.lead(ctx, r) }, Lost: func(err error) bool { return errors.Is(err, errLost) },
		Leader: c.leader, Dial: files.Dial, MaxMessage: 1 << 20, Alone: c.alone})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	t.Cleanup(stop)
	return r, stop
}

func certificates(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "certs")
	id := func(r mtls.Role, name string) mtls.Identity { return mtls.Identity{Role: r, Name: name} }
	err := mtls.Issue(dir, []mtls.Subject{{Identity: id(mtls.Controller, "c1"), Hosts: []string{"127.0.0.1"}}, {Identity: id(mtls.Controller, "c2"), Hosts: []string{"127.0.0.1"}},
		{Identity: id(mtls.Agent, "n1")}})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// dial connects as the holder of a certificate; "" is the operator on the unix socket.
func dial(t *testing.T, certs, as string, r *replica) *grpc.ClientConn {
	t.Helper()
	var conn *grpc.ClientConn
	var err error
	if as == "" {
		conn, err = grpc.NewClient("unix://"+r.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	} else {
		var f *mtls.Files
		if f, err = mtls.Load(filepath.Join(certs, as), slog.New(slog.DiscardHandler)); err == nil {
			conn, err = f.Dial(r.address)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// version waits until whoever answers is want.
func version(t *testing.T, conn *grpc.ClientConn, want string) {
	t.Helper()
	var got string
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var s *controlv1.StatusResponse
		if s, err = controlv1.NewControlClient(conn).Status(t.Context(), &controlv1.StatusRequest{}); err == nil {
			if got = s.Version; got == want {
				return
			}
		}
	}
	t.Fatalf("answered by %q (%v), want %q", got, err, want)
}

// TestTurns has two controllers: whichever is called, the leader answers, before and after it
// changes, by losing its lead and by ending.
func TestTurns(t *testing.T) {
	certs, c := certificates(t), &cluster{free: make(chan struct{})}
	one, stopOne := c.start(t, certs, "c1")
	toOne := dial(t, certs, "n1", one)
	version(t, toOne, "c1")
	two, _ := c.start(t, certs, "c2")
	toTwo := dial(t, certs, "n1", two)
	version(t, toTwo, "c1")
	c.mu.Lock()
	close(one.lost)
	c.mu.Unlock()
	version(t, toTwo, "c2")
	version(t, toOne, "c2")
	stopOne()
	version(t, toTwo, "c2")
}

// TestPassedOn checks what a standby passes on: answers, streams, errors.
func TestPassedOn(t *testing.T) {
	certs, c := certificates(t), &cluster{free: make(chan struct{})}
	one, _ := c.start(t, certs, "c1")
	version(t, dial(t, certs, "n1", one), "c1")
	two, _ := c.start(t, certs, "c2")
	operator := controlv1.NewControlClient(dial(t, certs, "", two))
	stream, err := operator.Observe(t.Context(), &controlv1.ObserveRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		e, err := stream.Recv()
		if err != nil {
			if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "that is all") {
				t.Errorf("the end: got %v", err)
			}
			break
		}
		got = append(got, e.Text)
	}
	if strings.Join(got, " ") != "one two three" {
		t.Errorf("events: got %v", got)
	}
	if _, err := operator.ListRules(t.Context(), &controlv1.ListRulesRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("an error of the leader: got %v, want Unimplemented", err)
	}
	agent := controlv1.NewCollectorClient(dial(t, certs, "n1", two))
	if _, err := agent.ReportConnections(t.Context(), &controlv1.ReportConnectionsRequest{Node: "n1", Sequence: 7}); err != nil || len(one.taken) != 1 || one.taken[0] != 7 {
		t.Errorf("a report passed on: got %v, %v", one.taken, err)
	}
}

// TestAllowed calls leader and standby for what callers may not.
func TestAllowed(t *testing.T) {
	certs, c := certificates(t), &cluster{free: make(chan struct{})}
	one, _ := c.start(t, certs, "c1")
	version(t, dial(t, certs, "n1", one), "c1")
	two, _ := c.start(t, certs, "c2")
	setMode := func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := controlv1.NewControlClient(conn).SetMode(ctx, &controlv1.SetModeRequest{})
		return err
	}
	report := func(node string) func(context.Context, *grpc.ClientConn) error {
		return func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := controlv1.NewCollectorClient(conn).ReportConnections(ctx, &controlv1.ReportConnectionsRequest{Node: node})
			return err
		}
	}
	cases := []struct {
		name, as, speaksFor string
		call                func(context.Context, *grpc.ClientConn) error
		want                codes.Code
	}{
		{"an operator sets modes", "", "", setMode, codes.Unimplemented}, // it came through
		{"an agent sets no modes", "n1", "", setMode, codes.PermissionDenied},
		{"an agent reports", "n1", "", report("n1"), codes.OK},
		{"an agent does not report for another", "n1", "", report("n2"), codes.PermissionDenied},
		{"an agent does not speak for an operator", "n1", "operator", setMode, codes.PermissionDenied},
		{"an agent does not speak for another", "n1", "agent/n2", report("n2"), codes.PermissionDenied},
	}
	for _, tc := range cases {
		for _, r := range []*replica{one, two} {
			ctx := t.Context()
			if tc.speaksFor != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "sluice-for", tc.speaksFor)
			}
			if err := tc.call(ctx, dial(t, certs, tc.as, r)); status.Code(err) != tc.want {
				t.Errorf("%s, asking %s: got %v, want %v", tc.name, r.name, err, tc.want)
			}
		}
	}
}

// TestAlone reads the status of a standby that knows no other controller.
func TestAlone(t *testing.T) {
	certs, c := certificates(t), &cluster{free: make(chan struct{})}
	c.holder = &replica{} // a leader without an address
	c.alone = func() *controlv1.StatusResponse { return &controlv1.StatusResponse{Version: "by itself"} }
	two, _ := c.start(t, certs, "c2")
	version(t, dial(t, certs, "", two), "by itself")
	if _, err := controlv1.NewControlClient(dial(t, certs, "", two)).ListRules(t.Context(), &controlv1.ListRulesRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("another call: got %v, want Unavailable", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c.mu.Lock()
	c.holder.address = l.Addr().String() // one that was killed
	c.mu.Unlock()
	version(t, dial(t, certs, "", two), "by itself")
}

// TestNoLeader calls a standby that knows no other controller.
func TestNoLeader(t *testing.T) {
	certs, c := certificates(t), &cluster{free: make(chan struct{})}
	c.holder = &replica{} // a leader without an address
	two, _ := c.start(t, certs, "c2")
	if err := func() error {
		_, err := controlv1.NewControlClient(dial(t, certs, "", two)).Status(t.Context(), &controlv1.StatusRequest{})
		return err
	}(); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
	c.mu.Lock()
	c.holder.address = two.address // an old record that names the one that is asked
	c.mu.Unlock()
	if _, err := controlv1.NewControlClient(dial(t, certs, "", two)).Status(t.Context(), &controlv1.StatusRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("passed on to itself: got %v, want Unavailable", err)
	}
}
