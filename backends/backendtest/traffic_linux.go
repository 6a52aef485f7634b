package backendtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// seen counts payloads by direction.
type seen struct {
	mu sync.Mutex
	n  map[string]int
}

func (s *seen) add(dir packet.Direction, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n[dir.String()+" "+string(p)]++
}

func (s *seen) count(dir packet.Direction, p string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n[dir.String()+" "+p]
}

// directions sends datagrams both ways: each is seen exactly once, in its direction, on its
// endpoint and with the workload's own address, and arrives.
func directions(t *testing.T, h Harness) {
	a, b := h.topology(t)
	s := &seen{n: map[string]int{}}
	const id = backend.MaxID - 0x1234
	h.attach(t, h.Endpoint(id, a, backend.FailOpen), func(f *packet.Frame) packet.Action {
		p := payload(f)
		if !bytes.HasPrefix(p, []byte("sluice ")) {
			return packet.Pass
		}
		own := f.Data
		if f.Dir == packet.Egress {
			own = own[6:]
		}
		if f.Endpoint != id || f.Link == packet.Ethernet && !bytes.Equal(own[:6], a.MAC[:]) || f.Stamp == 0 || int(f.Wire) != len(f.Data) {
			t.Errorf("frame of endpoint %x, stamp %d, wire %d, %d bytes: % x", f.Endpoint, f.Stamp, f.Wire, len(f.Data), f.Data[:14])
		}
		s.add(f.Dir, p)
		return packet.Pass
	})
	for _, family := range families {
		network := "udp" + family
		there, here := b.ListenPacket(network, b.Addr(network, 0)), a.ListenPacket(network, a.Addr(network, 0))
		for i := range 50 {
			out, in := fmt.Sprintf("sluice %s out %d", family, i), fmt.Sprintf("sluice %s in %d", family, i)
			exchange(t, here, there, out)
			exchange(t, there, here, in)
			eventually(t, in, func() bool {
				return s.count(packet.Egress, out) == 1 && s.count(packet.Ingress, in) == 1
			})
			if s.count(packet.Ingress, out) != 0 || s.count(packet.Egress, in) != 0 {
				t.Fatalf("datagram %d of IPv%s was seen in both directions", i, family)
			}
		}
	}
}

// exchange sends one datagram and waits for it on the other side.
func exchange(t *testing.T, from, to net.PacketConn, text string) {
	t.Helper()
	if _, err := from.WriteTo([]byte(text), to.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if err := expect(to, text, 5*time.Second); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
}

// expect waits for a datagram of that text.
func expect(c net.PacketConn, text string, d time.Duration) error {
	buf := make([]byte, 2048)
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		if string(buf[:n]) == text {
			return nil
		}
	}
}

// bulk sends 50 MB each way over both families and compares every byte. There must have been
// frames larger than the MTU: offloads stay on.
func bulk(t *testing.T, h Harness) {
	a, b := h.topology(t)
	var largest uint32
	var mu sync.Mutex
	r := h.attach(t, h.Endpoint(1, a, backend.FailClosed), func(f *packet.Frame) packet.Action {
		mu.Lock()
		defer mu.Unlock()
		largest = max(largest, f.Wire)
		return packet.Pass
	})
	for _, family := range families {
		network := "tcp" + family
		for _, way := range []struct {
			name     string
			from, to *testnet.Workload
		}{{"out", a, b}, {"in", b, a}} {
			l := way.to.Listen(network, way.to.Addr(network, 0))
			c := way.from.Dial(network, l.Addr().String())
			if err := transfer(c, l, 50<<20); err != nil {
				t.Fatalf("IPv%s %s: %v", family, way.name, err)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if !h.CutsLarge && largest < 20000 {
		t.Errorf("largest frame had %d bytes: no GSO frame came through whole", largest)
	}
	if c, ok := r.w.q.(backend.Counter); ok {
		t.Logf("%+v", c.Stats())
	}
}

// transfer sends n bytes of a pattern from c to the next connection of l and compares them
// there.
func transfer(c net.Conn, l net.Listener, n int) error {
	res := make(chan error, 1)
	go func() {
		peer, err := l.Accept()
		if err != nil {
			res <- err
			return
		}
		defer peer.Close()
		_ = peer.SetReadDeadline(time.Now().Add(30 * time.Second))
		_, err = io.Copy(&checker{}, io.LimitReader(peer, int64(n)))
		res <- err
	}()
	_ = c.SetWriteDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.CopyN(c, &pattern{}, int64(n)); err != nil {
		return err
	}
	return <-res
}

// period is prime, so that a lost, duplicated or moved frame shows.
const period = 65521

// pattern is a stream of known bytes.
type pattern struct{ at int }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(p.at ^ p.at>>8)
		if p.at++; p.at == period {
			p.at = 0
		}
	}
	return len(b), nil
}

// checker compares what is written to it with the pattern.
type checker struct {
	want pattern
	buf  []byte
}

func (c *checker) Write(b []byte) (int, error) {
	if len(c.buf) < len(b) {
		c.buf = make([]byte, len(b))
	}
	_, _ = c.want.Read(c.buf[:len(b)])
	if !bytes.Equal(b, c.buf[:len(b)]) {
		return 0, errors.New("bytes differ from those that were sent")
	}
	return len(b), nil
}

// drop passes some datagrams and drops others.
func drop(t *testing.T, h Harness) {
	a, b := h.topology(t)
	h.attach(t, h.Endpoint(1, a, backend.FailOpen), func(f *packet.Frame) packet.Action {
		if strings.HasPrefix(string(payload(f)), "bad") {
			return packet.Drop
		}
		return packet.Pass
	})
	for _, family := range families {
		network := "udp" + family
		there, here := b.ListenPacket(network, b.Addr(network, 0)), a.ListenPacket(network, a.Addr(network, 0))
		for _, way := range [][2]net.PacketConn{{here, there}, {there, here}} {
			for _, text := range []string{"bad 1", "bad 2", "good"} {
				if _, err := way[0].WriteTo([]byte(text), way[1].LocalAddr()); err != nil {
					t.Fatal(err)
				}
			}
			var got [16]byte
			_ = way[1].SetReadDeadline(time.Now().Add(5 * time.Second))
			n, _, err := way[1].ReadFrom(got[:])
			if err != nil || string(got[:n]) != "good" {
				t.Errorf("IPv%s: got %q, %v; want only the good one", family, got[:n], err)
			}
		}
	}
}

// undecided leaves frames unjudged: they follow the fail mode.
func undecided(t *testing.T, h Harness) {
	for _, c := range []struct {
		name   string
		fail   backend.FailMode
		passes bool
	}{{"open", backend.FailOpen, true}, {"closed", backend.FailClosed, false}} {
		t.Run(c.name, func(t *testing.T) {
			a, b := h.topology(t)
			h.attach(t, h.Endpoint(1, a, c.fail), func(f *packet.Frame) packet.Action {
				if payload(f) != nil {
					return packet.Undecided
				}
				return packet.Pass
			})
			wait := 250 * time.Millisecond
			if c.passes {
				wait = 5 * time.Second // a busy machine
			}
			for _, family := range families {
				network := "udp" + family
				there, here := b.ListenPacket(network, b.Addr(network, 0)), a.ListenPacket(network, a.Addr(network, 0))
				if _, err := here.WriteTo([]byte("x"), there.LocalAddr()); err != nil {
					t.Fatal(err)
				}
				if err := expect(there, "x", wait); (err == nil) != c.passes {
					t.Errorf("IPv%s: %v, want it to pass: %v", family, err, c.passes)
				}
			}
		})
	}
}
