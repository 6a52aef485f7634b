package mtls_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/mtls"
)

// journal keeps what is logged.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) has(text string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Contains(j.b.String(), text)
}

func loadLogged(t *testing.T, dir string) (*mtls.Files, *journal) {
	t.Helper()
	j := &journal{}
	f, err := mtls.Load(dir, slog.New(slog.NewTextHandler(j, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return f, j
}

func renew(t *testing.T, dir string, life time.Duration, names ...string) {
	t.Helper()
	if _, err := mtls.Renew(dir, names, life); err != nil {
		t.Fatal(err)
	}
}

// TestExpired has certificates that are over, on either side: both ends report it and what to do, and a new
// certificate is taken up while both run.
func TestExpired(t *testing.T) {
	dir := t.TempDir()
	issue(t, dir, controller("c1", "127.0.0.1"), agent("n1"))
	server, serverLog := loadLogged(t, filepath.Join(dir, "c1"))
	address := whoami(t, server)
	client, clientLog := loadLogged(t, filepath.Join(dir, "n1"))
	if err := call(t, client, address); err != nil {
		t.Fatalf("at first: %v", err)
	}
	for _, who := range []string{"n1", "c1"} {
		renew(t, dir, -time.Minute, who)
		err := call(t, client, address)
		if err == nil || !strings.Contains(err.Error(), "expired") || !strings.Contains(err.Error(), "--renew") {
			t.Errorf("%s has expired: got %v", who, err)
		}
		if log := map[string]*journal{"n1": clientLog, "c1": serverLog}[who]; !log.has("certificate expired") {
			t.Errorf("%s has expired: its log does not report it", who)
		}
		renew(t, dir, 0, who)
		if err := call(t, client, address); err != nil {
			t.Errorf("%s renewed: %v", who, err)
		}
	}
	renew(t, dir, time.Hour, "n1")
	if err := call(t, client, address); err != nil || !clientLog.has("expires soon") {
		t.Errorf("good for an hour: got %v, and the log reports it: %t", err, clientLog.has("expires soon"))
	}
}

// TestCallerExpired calls with an expired certificate all the same: the controller returns the reason.
func TestCallerExpired(t *testing.T) {
	dir := t.TempDir()
	issue(t, dir, controller("c1", "127.0.0.1"), agent("n1"))
	server, log := loadLogged(t, filepath.Join(dir, "c1"))
	address := whoami(t, server)
	renew(t, dir, -time.Minute, "n1")
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "n1", "tls.crt"), filepath.Join(dir, "n1", "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 20 * time.Second}, Config: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", address)
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
		conn.Close()
	}
	if err == nil || errors.Is(err, io.EOF) {
		t.Errorf("got %v, want an alert", err)
	}
	for end := time.Now().Add(20 * time.Second); !log.has("client rejected") || !log.has("--renew"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the controller does not return the reason: %s", log.b.String())
		}
	}
}

// TestNewFiles puts what is not usable into a folder in use: what was there before stays in use.
func TestNewFiles(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	issue(t, dir, controller("c1", "127.0.0.1"), agent("n1"), agent("n2"))
	issue(t, other, agent("n1"))
	address := whoami(t, load(t, filepath.Join(dir, "c1")))
	n1 := filepath.Join(dir, "n1")
	keep := func(name string) (restore func()) {
		data, err := os.ReadFile(filepath.Join(n1, name))
		if err != nil {
			t.Fatal(err)
		}
		return func() { write(t, filepath.Join(n1, name), data) }
	}
	client, log := loadLogged(t, n1)
	cases := []struct {
		name  string
		files map[string]string // where they are from
	}{
		{"the certificate alone", map[string]string{"tls.crt": filepath.Join(other, "n1")}},
		{"another machine's", map[string]string{"tls.crt": filepath.Join(dir, "n2"), "tls.key": filepath.Join(dir, "n2")}},
		{"no authority", map[string]string{"ca.crt": "/dev/null"}},
	}
	for _, c := range cases {
		var restore []func()
		for name, from := range c.files {
			restore = append(restore, keep(name))
			data, err := os.ReadFile(filepath.Join(from, name))
			if from == "/dev/null" {
				data, err = nil, nil
			}
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(n1, name), data)
		}
		if err := call(t, client, address); err != nil {
			t.Errorf("%s: got %v", c.name, err)
		}
		if !log.has("unusable") {
			t.Errorf("%s: the log does not report it", c.name)
		}
		for _, r := range restore {
			r()
		}
	}
	if err := call(t, client, address); err != nil {
		t.Errorf("with its own files again: %v", err)
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestNewAuthority exchanges the authority under a controller and an agent that run: at every step new
// connections come about.
func TestNewAuthority(t *testing.T) {
	dir := t.TempDir()
	issue(t, dir, controller("c1", "127.0.0.1"), agent("n1"))
	address := whoami(t, load(t, filepath.Join(dir, "c1")))
	client, first := load(t, filepath.Join(dir, "n1")), t.TempDir()
	for _, name := range []string{"ca.crt", "tls.crt", "tls.key"} {
		data, err := os.ReadFile(filepath.Join(dir, "n1", name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(first, name), data)
	}
	steps := []struct {
		name string
		do   func() error
		ok   bool
	}{
		{"a new authority", func() error { return mtls.NewAuthority(dir) }, true},
		{"too early to forget the old one", func() error { return mtls.ForgetAuthorities(dir) }, false},
		{"the agent is renewed", func() error { _, err := mtls.Renew(dir, []string{"n1"}, 0); return err }, true},
		{"the controller is renewed", func() error { _, err := mtls.Renew(dir, []string{"c1"}, 0); return err }, true},
		{"the old one is forgotten", func() error { return mtls.ForgetAuthorities(dir) }, true},
		{"renewed again", func() error { _, err := mtls.Renew(dir, nil, 0); return err }, true},
	}
	for _, s := range steps {
		if err := s.do(); (err == nil) != s.ok {
			t.Errorf("%s: got %v", s.name, err)
		}
		if err := call(t, client, address); err != nil {
			t.Errorf("after %s: %v", s.name, err)
		}
	}
	// What the old authority signed is worth nothing any more.
	if err := call(t, load(t, first), address); err == nil {
		t.Error("a certificate of the forgotten authority was accepted")
	}
}
