package lab_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/lab"
	"github.com/sluicenet/sluice/internal/testnet"
)

// TestSidecar goes through the proxy in both directions: out of its namespace, and into it.
func TestSidecar(t *testing.T) {
	ws := testnet.New(t).Bridge("pod", "peer").Workloads
	pod, peer := ws[0], ws[1]
	s, err := lab.StartSidecar(pod.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, family := range []string{"tcp4", "tcp6"} {
		for _, way := range []struct {
			name     string
			from, to *testnet.Workload
			sees     map[string]string
		}{
			{"out", pod, peer, map[string]string{"tcp4": pod.IPv4.String(), "tcp6": pod.IPv6.String()}},
			{"in", peer, pod, map[string]string{"tcp4": "127.0.0.6", "tcp6": "::6"}},
		} {
			l := way.to.Listen(family, way.to.Addr(family, 0))
			seen := make(chan string, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
				seen <- host
				_, _ = io.Copy(c, c)
				c.Close()
			}()
			c := way.from.Dial(family, l.Addr().String())
			_ = c.SetDeadline(time.Now().Add(3 * time.Second))
			buf := make([]byte, 5)
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "hello" {
				t.Fatalf("%s over %s: %q, %v", way.name, family, buf, err)
			}
			if got := <-seen; got != way.sees[family] {
				t.Errorf("%s over %s: the server sees %s, want %s", way.name, family, got, way.sees[family])
			}
			c.Close()
		}
	}
}
