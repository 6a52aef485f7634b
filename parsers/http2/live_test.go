package http2_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/http2"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

// recordings wraps what a client dials.
type recordings struct {
	mu  sync.Mutex
	all []*parsertest.Recorder // guarded by mu
}

func (r *recordings) dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	rec := &parsertest.Recorder{}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, rec)
	return rec.Client(c), nil
}

func (r *recordings) first() parsertest.Case {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[0].Case("live")
}

// unary makes calls to method and records them.
func unary(t *testing.T, method string, answer error, calls int) parsertest.Case {
	t.Helper()
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	handler := func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.StringValue)
		if err := dec(in); err != nil {
			return nil, err
		}
		return in, answer
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	srv.RegisterService(&grpc.ServiceDesc{ServiceName: service, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: name, Handler: handler}}}, struct{}{})
	go srv.Serve(l)
	defer srv.Stop()
	var recs recordings
	conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithContextDialer(recs.dial), grpc.WithAuthority("live.example"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent("live/1"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for range calls {
		err = conn.Invoke(ctx, method, wrapperspb.String("hello"), new(wrapperspb.StringValue))
		if status.Code(err) != status.Code(answer) {
			t.Fatalf("call: %v", err)
		}
	}
	return recs.first()
}

func TestLiveGRPC(t *testing.T) {
	tests := []struct {
		name, method string
		answer       error
		app, status  string
	}{
		{"ok", "/live.v1.Echo/Say", nil, "grpc", "0"},
		{"refused", "/live.v1.Echo/Say", status.Error(codes.PermissionDenied, "no"), "grpc", "7"},
		{"etcd", "/etcdserverpb.KV/Range", nil, "etcd", "0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := unary(t, tt.method, tt.answer, 2)
			c.Want.App, c.Want.Base = tt.app, "http2"
			c.Want.Attrs = []parsertest.Attr{{Key: parsers.Service, Value: tt.method}, {Key: parsers.Host, Value: "live.example"},
				{Key: parsers.Status, Value: tt.status}, {Key: parsers.UserAgent, Value: "live/1 grpc-go/" + grpc.Version}}
			c.ClientOnly = tt.app
			parsertest.Check(t, http2.New(), app.HTTP2, &c)
		})
	}
}

// TestLiveMidstream drops what led up to the later calls.
func TestLiveMidstream(t *testing.T) {
	c := unary(t, "/live.v1.Echo/Say", nil, 6)
	sides := [2]int{}
	for i := range c.Messages {
		m := &c.Messages[i]
		if n := bytes.Index(m.Data, []byte("hello")); n >= 0 {
			sides[m.Dir]++
		}
		if sides[0] == 3 && sides[1] == 2 { // the third call begins a segment
			c.Messages = c.Messages[i:]
			break
		}
	}
	c.Meta.Midstream = true
	f, err := parsertest.Replay(http2.New(), app.HTTP2, c.Meta, c.Messages)
	if err != nil {
		t.Fatal(err)
	}
	if f.App != "grpc" || !f.Final {
		t.Errorf("got\n%swant grpc", f)
	}
}

func TestLiveHTTP2(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Protocols: &protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "live")
		io.WriteString(w, strings.Repeat("a", 30000))
	})}
	go srv.Serve(l)
	defer srv.Close()
	var recs recordings
	tr := &http.Transport{Protocols: &protocols, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return recs.dial(ctx, addr) }}
	resp, err := (&http.Client{Transport: tr}).Get("http://" + l.Addr().String() + "/x?y")
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	tr.CloseIdleConnections()
	c := recs.first()
	c.Want.App, c.Want.Base = "http2", "http2"
	c.Want.Attrs = []parsertest.Attr{{Key: parsers.Host, Value: l.Addr().String()}, {Key: parsers.Method, Value: "GET"}, {Key: parsers.Path, Value: "/x"},
		{Key: parsers.Status, Value: "200"}, {Key: parsers.UserAgent, Value: "Go-http-client/2.0"}, {Key: parsers.Software, Value: "live"}}
	c.ClientOnly, c.ServerOnly = "http2", "http2"
	parsertest.Check(t, http2.New(), app.HTTP2, &c)
}
