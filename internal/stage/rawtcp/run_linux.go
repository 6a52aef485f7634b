package rawtcp

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// Cover is a request of the application that policy allows.
const Cover = "GET /cover HTTP/1.1\r\nHost: x\r\n\r\n"

// Port is the server's.
const Port = 8080

// firstSource is the first port of the client.
const firstSource = 41000

// Server records what its application receives, by the port of the client.
type Server struct {
	mu  sync.Mutex
	got map[uint16][]byte
}

// Serve starts a server in a workload, for both families.
func Serve(w *testnet.Workload) *Server {
	s := &Server{got: map[uint16][]byte{}}
	for _, network := range []string{"tcp4", "tcp6"} {
		l := w.Listen(network, w.Addr(network, Port))
		go testnet.ServeEach(l, s.serve)
	}
	return s
}

// serve records what a client sends, and answers each part of it.
func (s *Server) serve(c net.Conn) {
	port := netip.MustParseAddrPort(c.RemoteAddr().String()).Port()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		s.mu.Lock()
		s.got[port] = append(s.got[port], buf[:n]...)
		s.mu.Unlock()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
}

// Got returns what was received from a port of the client.
func (s *Server) Got(port uint16) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.got[port])
}

// Run tries every decoy and a plain request from one workload at a server in another, in one
// family, all at once. It returns the decoys by which the marker reached the application, and
// whether the request did.
func Run(t *testing.T, client, server *testnet.Workload, s *Server, six bool, round int) (through []string, request bool) {
	t.Helper()
	from := netip.MustParseAddr("10.77.0.99")
	if six {
		from = netip.MustParseAddr("fd77::99")
	}
	if err := Neighbour(server, from, client.MAC); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	passed := make([]bool, len(Decoys)+1)
	base := uint16(firstSource + 100*round)
	for i := range passed {
		wg.Add(1)
		go func() {
			defer wg.Done()
			port := base + uint16(i)
			c, err := Open(client, server, from, port, Port)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			d, marker := Decoy{}, []byte(Cover)
			if i < len(Decoys) {
				d, marker = Decoys[i], fmt.Appendf(nil, "EVIL-%d-not-of-that-application\r\n", port)
			}
			d.Send(c, []byte(Cover), marker)
			passed[i] = bytes.Contains(s.Got(port), marker)
		}()
	}
	wg.Wait()
	for i := range Decoys {
		if passed[i] {
			through = append(through, Decoys[i].Name)
		}
	}
	return through, passed[len(Decoys)]
}
