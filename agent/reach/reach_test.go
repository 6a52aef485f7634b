package reach_test

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/sluicenet/sluice/agent/reach"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// collector answers as configured.
type collector struct {
	controlv1.UnimplementedCollectorServer
	answer func(context.Context) error
	calls  int
}

func (c *collector) ReportStatus(ctx context.Context, _ *controlv1.ReportStatusRequest) (*controlv1.ReportStatusResponse, error) {
	c.calls++
	return &controlv1.ReportStatusResponse{}, c.answer(ctx)
}

func serve(t *testing.T, answer func(context.Context) error) (*collector, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{answer: answer}
	s := grpc.NewServer()
	controlv1.RegisterCollectorServer(s, c)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return c, l.Addr().String()
}

// TestTurns has controllers that are away in different ways before the one that answers: a few calls
// later that one is found, and kept.
func TestTurns(t *testing.T) {
	refuse := func(context.Context) error {
		return status.Error(codes.Unavailable, "not the leader, and there is none")
	}
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	wrong := func(context.Context) error { return status.Error(codes.InvalidArgument, "no") }
	cases := []struct {
		name   string
		first  func(t *testing.T) string
		answer func(context.Context) error
		want   codes.Code
	}{
		{"no listener", func(*testing.T) string { return "127.0.0.1:1" }, func(context.Context) error { return nil }, codes.OK},
		{"it has no leader", func(t *testing.T) string { _, a := serve(t, refuse); return a }, func(context.Context) error { return nil }, codes.OK},
		{"it hangs", func(t *testing.T) string { _, a := serve(t, hang); return a }, func(context.Context) error { return nil }, codes.OK},
		{"an answer that is an error is an answer", func(*testing.T) string { return "127.0.0.1:1" }, wrong, codes.InvalidArgument},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			good, address := serve(t, c.answer)
			dial := func(a string) (*grpc.ClientConn, error) {
				return grpc.NewClient(a, grpc.WithTransportCredentials(insecure.NewCredentials()))
			}
			p, err := reach.Dial([]string{c.first(t), address}, dial, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			const calls = 5
			var got codes.Code
			for range calls {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				_, err = controlv1.NewCollectorClient(p).ReportStatus(ctx, &controlv1.ReportStatusRequest{})
				got = status.Code(err)
				cancel()
			}
			if got != c.want || good.calls != calls-1 {
				t.Errorf("got %v after %d calls of %d, want %v after %d", got, good.calls, calls, c.want, calls-1)
			}
		})
	}
	if _, err := reach.Dial(nil, nil, nil); err == nil {
		t.Error("no address: got no error")
	}
}
