//go:build linux

package nfqueue_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/stage/testnet"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// kept is a backend that keeps its last attachment for the test.
type kept struct {
	*nfqueue.Backend
	last backend.Attachment
}

func (k *kept) Attach(ctx context.Context, ep backend.Endpoint) (a backend.Attachment, err error) {
	a, err = k.Backend.Attach(ctx, ep)
	k.last = a
	return a, err
}

// several is a workload with peers that exchange data continuously.
type several struct {
	enforced
	peers []*testnet.Workload
	taps  *afpacket.Backend
	be    *kept
	conns int
	says  atomic.Int64
	stop  chan struct{}
	wg    sync.WaitGroup
}

func newSeveral(t *testing.T, queues int) *several {
	t.Helper()
	testnet.RequireRoot(t)
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	ws := testnet.New(t).Bridge("a", "b", "c", "d", "e").Workloads
	s := &several{
		enforced: enforced{t: t, e: engine.New(engine.Config{Parsers: reg}), a: ws[0], b: ws[1]}, peers: ws[1:], taps: afpacket.New(afpacket.Config{}),
		be: &kept{Backend: nfqueue.New(nfqueue.Config{Queues: queues, Marks: true})}, stop: make(chan struct{}),
	}
	t.Cleanup(func() {
		if err := errors.Join(s.e.Close(), s.be.Close(), s.taps.Close()); err != nil {
			t.Error(err)
		}
	})
	any := []policy.PortSpec{{Proto: packet.ProtoTCP, Lo: 0, Hi: 65535}, {Proto: packet.ProtoUDP, Lo: 0, Hi: 65535}}
	s.apply(policy.RuleSpec{ID: 1, Ports: any})
	return s
}

// tap and queue change the workload's attachment.
func (s *several) tap() {
	s.t.Helper()
	ep := harness(nfqueue.Config{}, "").Endpoint(1, s.a, backend.FailOpen)
	ep.Kind, ep.Hook = backend.Tap, backend.Hook{}
	if err := s.e.Attach(context.Background(), s.taps, ep, "a"); err != nil {
		s.t.Fatal(err)
	}
}

func (s *several) queue() {
	s.t.Helper()
	if err := s.e.Attach(context.Background(), s.be, harness(nfqueue.Config{}, "").Endpoint(1, s.a, backend.FailOpen), "a"); err != nil {
		s.t.Fatal(err)
	}
}

// talk opens connections in both directions with each peer, which last until the end.
func (s *several) talk() {
	for _, family := range []string{"tcp4", "tcp6"} {
		for _, p := range s.peers {
			for _, pair := range [][2]*testnet.Workload{{s.a, p}, {p, s.a}} {
				c, _ := stream(s.t, family, pair[0], pair[1])
				s.conns++
				s.wg.Add(1)
				go s.chat(c)
			}
		}
	}
}

// chat sends a message and reads its echo until the end.
func (s *several) chat(c net.Conn) {
	defer s.wg.Done()
	defer c.Close()
	buf := []byte("something to say")
	for {
		select {
		case <-s.stop:
			return
		default:
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write(buf); err != nil {
			s.t.Errorf("%s to %s: %v", c.LocalAddr(), c.RemoteAddr(), err)
			return
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			s.t.Errorf("%s to %s: %v", c.LocalAddr(), c.RemoteAddr(), err)
			return
		}
		s.says.Add(1)
		time.Sleep(2 * time.Millisecond)
	}
}

// silence ends all connections.
func (s *several) silence() {
	close(s.stop)
	s.wg.Wait()
}

// continues waits until more data was exchanged.
func (s *several) continues() {
	s.t.Helper()
	from := s.says.Load()
	await(s.t, "connections continue", func() bool { return s.says.Load() > from+int64(20*s.conns) })
}

// TestSeveralQueues changes a workload under load between a tap and several queues
// repeatedly: no connection is broken or taken for a new one, and every queue has its share.
func TestSeveralQueues(t *testing.T) {
	s := newSeveral(t, 4)
	s.tap()
	s.talk()
	defer s.silence()
	s.continues()
	opened := s.counter("engine.sessions_opened")
	for range 4 {
		s.queue()
		s.continues()
		for i, q := range s.be.last.Queues() {
			if q.(backend.Counter).Stats().Received == 0 {
				t.Errorf("nothing came to queue %d", i)
			}
		}
		s.unreachable()
		s.tap()
		s.continues()
	}
	var more uint64
	await(t, "counters", func() bool { // of the sessions of unreachable, and no others but neighbours'
		more = s.counter("engine.sessions_opened") - opened
		return more >= 4*4
	})
	if most := uint64(4 * 4 * 3); more > most {
		t.Errorf("%d sessions were opened although %d connections continued; want at most %d, of datagrams", more, s.conns, most)
	}
}

// unreachable sends a datagram to a closed port of each peer: the error in reply concerns its
// flow, and no rule names it.
func (s *several) unreachable() {
	s.t.Helper()
	for _, p := range s.peers {
		c := s.a.Dial("udp4", p.Addr("udp4", 9))
		ok := false
		for end := time.Now().Add(patience); !ok && time.Now().Before(end); {
			_, werr := c.Write([]byte("x"))
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			_, rerr := c.Read(make([]byte, 1))
			ok = errors.Is(werr, syscall.ECONNREFUSED) || errors.Is(rerr, syscall.ECONNREFUSED)
		}
		if !ok {
			s.t.Errorf("the error about a datagram to %s did not come", c.RemoteAddr())
		}
		c.Close()
	}
}
