package mtls_test

import (
	"context"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/sluicenet/sluice/internal/mtls"
)

func controller(name string, hosts ...string) mtls.Subject {
	return mtls.Subject{Identity: mtls.Identity{Role: mtls.Controller, Name: name}, Hosts: hosts}
}

func agent(name string) mtls.Subject {
	return mtls.Subject{Identity: mtls.Identity{Role: mtls.Agent, Name: name}}
}

func issue(t *testing.T, dir string, subjects ...mtls.Subject) {
	t.Helper()
	if err := mtls.Issue(dir, subjects); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, dir string) *mtls.Files {
	t.Helper()
	f, err := mtls.Load(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestIssue(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	issue(t, dir, controller("c1", "127.0.0.1"), agent("n1"))
	issue(t, dir, agent("n2"))
	if err := mtls.Issue(dir, []mtls.Subject{agent("n3"), agent("n1")}); err == nil {
		t.Error("a second certificate of one name: got no error")
	}
	for _, s := range []mtls.Subject{agent(""), agent("../x"), agent("a/b"), agent(".."), agent("ca.key"), controller("c2")} {
		if err := mtls.Issue(dir, []mtls.Subject{s}); err == nil {
			t.Errorf("%+v: got no error", s)
		}
	}
	if got := load(t, filepath.Join(dir, "n2")).Identity; got != (mtls.Identity{Role: mtls.Agent, Name: "n2"}) {
		t.Errorf("identity: got %v", got)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		i, ierr := os.Stat(path)
		if err != nil || ierr != nil {
			t.Fatal(err, ierr)
		}
		secret := filepath.Ext(path) == ".key" || d.IsDir()
		if secret && i.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s may be read by others: %v", path, i.Mode())
		}
		if filepath.Base(path) == "ca.key" && filepath.Dir(path) != dir {
			t.Errorf("the authority's key is in %s", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mtls.Load(dir, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("the authority's own folder was taken for a machine's")
	}
}

// whoami serves health checks, which are answered when the caller is n1's agent.
func whoami(t *testing.T, f *mtls.Files) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(f.Server()), grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if got := mtls.Peer(ctx).String(); got != "agent/n1" {
			return nil, status.Error(codes.PermissionDenied, got)
		}
		return next(ctx, req)
	}))
	healthv1.RegisterHealthServer(s, health.NewServer())
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

// call makes one call on a connection of its own.
func call(t *testing.T, f *mtls.Files, address string) error {
	t.Helper()
	conn, err := f.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	return err
}

func TestHandshake(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	issue(t, dir, controller("c1", "127.0.0.1"), controller("far", "10.0.0.1"), agent("n1"), agent("n2"))
	issue(t, other, controller("c1", "127.0.0.1"), agent("n1"))
	cases := []struct {
		name   string
		server string
		client string
		want   codes.Code
	}{
		{"agent to controller", dir + "/c1", dir + "/n1", codes.OK},
		{"another agent is distinguished", dir + "/c1", dir + "/n2", codes.PermissionDenied},
		{"agent of another authority", dir + "/c1", other + "/n1", codes.Unavailable},
		{"controller of another authority", other + "/c1", dir + "/n1", codes.Unavailable},
		{"an agent is no controller", dir + "/n2", dir + "/n1", codes.Unavailable},
		{"controller for another address", dir + "/far", dir + "/n1", codes.Unavailable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := call(t, load(t, c.client), whoami(t, load(t, c.server)))
			if got := status.Code(err); got != c.want {
				t.Errorf("got %v (%v), want %v", got, err, c.want)
			}
		})
	}
}
