package consul_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicenet/sluice/internal/stage/consultest"
	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/consul"
	"github.com/sluicenet/sluice/store/storetest"
)

func open(t *testing.T, o consul.Options) *consul.Store {
	t.Helper()
	st, err := consul.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// TestStore runs the suite over one server; each test has a prefix of its own.
func TestStore(t *testing.T) {
	c := consultest.New(t, 1)
	var n atomic.Int32
	storetest.Suite{
		Harness: func(*testing.T) storetest.Opener {
			prefix := fmt.Sprintf("test/%d", n.Add(1))
			return func(t *testing.T) store.Store {
				return open(t, consul.Options{Addresses: c.Addresses(), Prefix: prefix})
			}
		},
		Keeps: true,
	}.Run(t)
}

func TestParse(t *testing.T) {
	cases := []struct {
		text string
		want consul.Options
		ok   bool
	}{
		{"consul://127.0.0.1:8500,127.0.0.2:8500?prefix=a/b", consul.Options{Addresses: []string{"127.0.0.1:8500", "127.0.0.2:8500"}, Prefix: "a/b"}, true},
		{"consul://", consul.Options{}, true},
		{"consul://store", consul.Options{Addresses: []string{"store:8500"}}, true},
		{"consuls://[::1]:8501/", consul.Options{Addresses: []string{"[::1]:8501"}, TLS: true}, true},
		{"consul://[::1]", consul.Options{Addresses: []string{"[::1]:8500"}}, true},
		{"consul://a:b:c", consul.Options{}, false},
		{"consul://a?token=x", consul.Options{}, false},
		{"http://a", consul.Options{}, false},
	}
	for _, c := range cases {
		got, err := consul.Parse(c.text)
		if (err == nil) != c.ok {
			t.Errorf("%s: got %v", c.text, err)
			continue
		}
		if d := cmp.Diff(c.want, got); c.ok && d != "" {
			t.Errorf("%s (-want +got):\n%s", c.text, d)
		}
	}
}

func TestPrefix(t *testing.T) {
	for _, prefix := range []string{"a//b", "..", string(make([]byte, 100))} {
		if _, err := consul.Open(consul.Options{Prefix: prefix}); err == nil {
			t.Errorf("prefix %.20q: got no error", prefix)
		}
	}
}

func TestMain(m *testing.M) {
	// What the environment says of another Consul is not for tests.
	for _, name := range []string{"CONSUL_HTTP_ADDR", "CONSUL_HTTP_TOKEN", "CONSUL_HTTP_SSL"} {
		os.Unsetenv(name)
	}
	os.Exit(m.Run())
}

// lines keeps what is logged.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), text)
}
