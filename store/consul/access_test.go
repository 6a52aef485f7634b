package consul_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/sluicenet/sluice/internal/stage/consultest"
	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/consul"
)

const manager = "8f5ba7a5-6c0e-4d1c-9a0c-2f6f0f6b1d10"

// secured is one Consul with ACLs and TLS, and what a client of it needs beside a token.
func secured(t *testing.T) (*consultest.Cluster, consul.Access) {
	t.Helper()
	ips, err := consultest.Loopback(1)
	if err != nil {
		t.Fatal(err)
	}
	servers, client, err := consultest.Certificates(filepath.Join(t.TempDir(), "certs"), ips)
	if err != nil {
		t.Fatal(err)
	}
	return consultest.NewAt(t, consultest.Place{IPs: ips, Token: manager, TLS: servers,
		HCL: `acl { enabled = true default_policy = "deny" tokens { initial_management = "` + manager + `" } }`}), consul.Access{CA: client.CA, Cert: client.Cert, Key: client.Key}
}

// token makes a token that may do what the rules say.
func token(t *testing.T, c *consultest.Cluster, name, rules string) string {
	t.Helper()
	cl, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := cl.ACL().PolicyCreate(&api.ACLPolicy{Name: name, Rules: rules}, nil)
	if err != nil {
		t.Fatal(err)
	}
	tok, _, err := cl.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: p.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tok.SecretID
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What the user guide lists that controllers and agents need.
const (
	rulesController = `key_prefix "sluice/" { policy = "write" } session_prefix "" { policy = "write" }`
	rulesAgent      = `key_prefix "sluice/" { policy = "read" }`
)

// TestAccess uses a Consul with ACLs and TLS with the tokens that the user guide describes, and with wrong
// ones: the errors end with what to do.
func TestAccess(t *testing.T) {
	c, mine := secured(t)
	with := func(token string) consul.Access { a := mine; a.TokenFile = file(t, token); return a }
	writer, reader := token(t, c, "controller", rulesController), token(t, c, "agent", rulesAgent)
	st := open(t, consul.Options{Addresses: c.Addresses(), TLS: true, Access: with(writer)})
	l, err := st.Lead(t.Context(), "controller", "one")
	if err != nil {
		t.Fatalf("lead: %v", err)
	}
	if _, err := l.(store.Fencer).Fence().Commit(t.Context(), store.Op{Key: "k", Value: []byte("v"), Revision: store.Any}); err != nil {
		t.Fatalf("commit: %v", err)
	}
	read := func(ctx context.Context, s *consul.Store) error {
		for e, err := range s.Watch(ctx, "", 0) {
			if err != nil {
				return err
			}
			if e.Object.Key == "k" {
				return nil
			}
			if e.Synced {
				return errors.New("k is not there")
			}
		}
		return ctx.Err()
	}
	write := func(ctx context.Context, s *consul.Store) error {
		_, err := s.Commit(ctx, store.Op{Key: "k2", Value: []byte("v"), Revision: store.Any})
		return err
	}
	lead := func(ctx context.Context, s *consul.Store) error { _, err := s.Lead(ctx, "other", "two"); return err }
	cases := []struct {
		name   string
		access consul.Access
		tls    bool
		do     func(context.Context, *consul.Store) error
		want   string // part of the error, "" for none
	}{
		{"agent reads", with(reader), true, read, ""},
		{"agent writes", with(reader), true, write, "key_prefix"},
		{"agent leads", with(reader), true, lead, "session_prefix"},
		{"no token reads", mine, true, read, "--store-token-file"},
		{"unknown token reads", with("11111111-2222-3333-4444-555555555555"), true, read, "Consul does not know this token"},
		{"unknown token leads", with("11111111-2222-3333-4444-555555555555"), true, lead, "Consul does not know this token"},
		{"no authority", consul.Access{Cert: mine.Cert, Key: mine.Key}, true, write, "--store-ca"},
		{"no certificate", consul.Access{CA: mine.CA}, true, write, "--store-cert"},
		{"without TLS", with(writer), false, write, "consuls://"},
	}
	for _, k := range cases {
		s := open(t, consul.Options{Addresses: c.Addresses(), TLS: k.tls, Access: k.access, Patience: time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err := k.do(ctx, s)
		cancel()
		if k.want == "" && err != nil || k.want != "" && (err == nil || !strings.Contains(err.Error(), k.want)) {
			t.Errorf("%s: got %v, want %q", k.name, err, k.want)
		}
	}
}

// TestTokenExchanged puts a new token into the file of a store that is in use, and takes the old one away.
func TestTokenExchanged(t *testing.T) {
	c, a := secured(t)
	a.TokenFile = file(t, token(t, c, "first", rulesController))
	st := open(t, consul.Options{Addresses: c.Addresses(), TLS: true, Access: a})
	put := func() error {
		_, err := st.Commit(t.Context(), store.Op{Key: "k", Value: []byte("v"), Revision: store.Any})
		return err
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	second := token(t, c, "second", rulesController)
	if err := os.WriteFile(a.TokenFile, []byte(second), 0o600); err != nil {
		t.Fatal(err)
	}
	cl, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := cl.ACL().TokenList(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tok := range list {
		if len(tok.Policies) == 1 && tok.Policies[0].Name == "first" {
			if _, err := cl.ACL().TokenDelete(tok.AccessorID, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Consul itself keeps what it knows of a token for up to 30 s.
	waitFor(t, "the new token is used", func() bool { return put() == nil })
}

// TestNoAnswer: the log shows, once, what is wrong with an address, and that Consul is back.
func TestNoAnswer(t *testing.T) {
	for _, k := range []struct{ name, address, want string }{
		{"no listener", "127.0.0.1:1", "connection refused"},
		{"no such name", "consul.invalid:8500", "the host name in --store is unknown"},
	} {
		log := &lines{}
		st := open(t, consul.Options{Addresses: []string{k.address}, Logger: slog.New(slog.NewTextHandler(log, nil))})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { _, err := st.Lead(ctx, "controller", "one"); done <- err }()
		waitFor(t, k.name+": the log shows it", func() bool { return log.has(k.want) && log.has("consul does not answer") })
		cancel()
		if err := <-done; err == nil {
			t.Errorf("%s: leads", k.name)
		}
	}
}
