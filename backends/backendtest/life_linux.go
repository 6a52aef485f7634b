package backendtest

import (
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// wake wakes an idle queue repeatedly: that is faster than its ticks.
func wake(t *testing.T, h Harness) {
	a, _ := h.topology(t)
	r := h.attach(t, h.Endpoint(1, a, backend.FailOpen), pass)
	begin := time.Now()
	for range 50 {
		r.w.do(func(backend.Queue) {})
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("50 wakes took %v: they wait for ticks", d)
	}
	// Idle, it ticks about ten times a second.
	before := r.w.calls.Load()
	time.Sleep(250 * time.Millisecond)
	if n := r.w.calls.Load() - before; n > 30 {
		t.Errorf("%d rounds in a quarter of an idle second: it spins", n)
	}
}

// closing ends queues with io.EOF, in any order of closing.
func closing(t *testing.T, h Harness) {
	for _, c := range []struct {
		name  string
		close func(*rig) error
	}{
		{"attachment", func(r *rig) error { return r.a.Close() }},
		{"queue", func(r *rig) error { return r.w.close() }},
		{"backend", func(r *rig) error { return r.b.Close() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := h.topology(t)
			before := snapshot(t, a, b)
			r := h.attach(t, h.Endpoint(1, a, backend.FailOpen), pass)
			if err := c.close(r); err != nil {
				t.Error(err)
			}
			r.w.end(t)
			if err := r.a.Close(); err != nil {
				t.Errorf("close attachment afterwards: %v", err)
			}
			if err := r.b.Close(); err != nil {
				t.Errorf("close backend afterwards: %v", err)
			}
			compare(t, before, snapshot(t, a, b))
			ping(t, a, b)
		})
	}
}

// restore attaches without activating, and with an invalid description.
func restore(t *testing.T, h Harness) {
	a, b := h.topology(t)
	before := snapshot(t, a, b)
	be := h.New(t)
	at, err := be.Attach(t.Context(), h.Endpoint(1, a, backend.FailClosed))
	if err != nil {
		t.Fatal(err)
	}
	ping(t, a, b)
	if err := at.Close(); err != nil {
		t.Error(err)
	}
	compare(t, before, snapshot(t, a, b))
	bad := h.Endpoint(1, a, backend.FailClosed)
	bad.Interface, bad.Index, bad.Hook.Interface, bad.Hook.Index = "none0", 0, "none0", 0
	if _, err := be.Attach(t.Context(), bad); err == nil {
		t.Error("attached to an interface that is not there")
	}
	compare(t, before, snapshot(t, a, b))
	if err := be.Close(); err != nil {
		t.Error(err)
	}
	compare(t, before, snapshot(t, a, b))
}

// ping sends a datagram each way over both families.
func ping(t *testing.T, a, b *testnet.Workload) {
	t.Helper()
	for _, family := range families {
		network := "udp" + family
		there, here := b.ListenPacket(network, b.Addr(network, 0)), a.ListenPacket(network, a.Addr(network, 0))
		exchange(t, here, there, "there")
		exchange(t, there, here, "back")
	}
}

// stream is a connection under load that notices when it stalls.
type stream struct {
	done  chan error
	stop  chan struct{}
	stall time.Duration // longest time without a byte, valid after done
	bytes int64         // valid after done
}

func startStream(from, to *testnet.Workload, network string) *stream {
	s := &stream{done: make(chan error, 1), stop: make(chan struct{})}
	l := to.Listen(network, to.Addr(network, 0))
	c := from.Dial(network, l.Addr().String())
	go func() { s.done <- s.receive(l) }()
	go func() {
		src := &pattern{}
		buf := make([]byte, 128<<10)
		for {
			select {
			case <-s.stop:
				c.Close()
				return
			default:
			}
			_, _ = src.Read(buf)
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	}()
	return s
}

// receive verifies the received bytes until the sender closes.
func (s *stream) receive(l net.Listener) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	check := &checker{}
	buf := make([]byte, 256<<10)
	for last := time.Now(); ; {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := c.Read(buf)
		s.stall = max(s.stall, time.Since(last))
		last = time.Now()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s.bytes += int64(n)
		if _, err := check.Write(buf[:n]); err != nil {
			return err
		}
	}
}

// finish ends the stream, which must have passed without a long stall.
func (s *stream) finish(t *testing.T, most time.Duration) {
	t.Helper()
	close(s.stop)
	if err := <-s.done; err != nil {
		t.Errorf("stream broke: %v", err)
	}
	if s.stall > most {
		t.Errorf("stream stalled for %v", s.stall)
	}
	t.Logf("%d MB, longest stall %v", s.bytes>>20, s.stall)
}

// reattach attaches and detaches repeatedly under load.
func reattach(t *testing.T, h Harness) {
	a, b := h.topology(t)
	before := snapshot(t, a, b)
	be := h.New(t)
	for _, family := range families {
		out, in := startStream(a, b, "tcp"+family), startStream(b, a, "tcp"+family)
		for i := range cmp.Or(h.Rounds, 10) {
			at, w := start(t, be, h.Endpoint(uint32(1+i), a, backend.FailClosed), pass)
			time.Sleep(30 * time.Millisecond)
			if w.frames.Load() == 0 {
				eventually(t, "a frame of the stream", func() bool { return w.frames.Load() > 0 })
			}
			if err := at.Close(); err != nil {
				t.Error(err)
			}
			w.end(t)
		}
		// A lost frame costs a retransmission by timer, a stuck queue the whole time; load of the
		// machine is allowed for.
		out.finish(t, 5*time.Second)
		in.finish(t, 5*time.Second)
	}
	if err := be.Close(); err != nil {
		t.Error(err)
	}
	compare(t, before, snapshot(t, a, b))
}

// send sends the worker's own frames to both sides.
func send(t *testing.T, h Harness) {
	a, b := h.topology(t)
	r := h.attach(t, h.Endpoint(1, a, backend.FailClosed), pass)
	ping(t, a, b) // to resolve the neighbours
	there, here := b.ListenPacket("udp4", b.Addr("udp4", 4001)), a.ListenPacket("udp4", a.Addr("udp4", 4001))
	for _, c := range []struct {
		name string
		dir  packet.Direction
		src  *testnet.Workload
		dst  *testnet.Workload
		at   net.PacketConn
	}{{"out", packet.Egress, a, b, there}, {"in", packet.Ingress, b, a, here}} {
		text := "made by the engine, going " + c.name
		f := &packet.Frame{Endpoint: 1, Dir: c.dir, Flags: packet.Injected, Data: datagram(h, c.src, c.dst, text)}
		f.Wire = uint32(len(f.Data))
		r.w.do(func(q backend.Queue) {
			if err := q.(backend.Sender).Send(f); err != nil {
				t.Error(err)
			}
		})
		if err := expect(c.at, text, 2*time.Second); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// datagram is an Ethernet frame with UDP over IPv4, port 4001 to 4001.
func datagram(h Harness, src, dst *testnet.Workload, text string) []byte {
	d := make([]byte, 42, 42+len(text))
	smac, dmac := src.MAC, dst.MAC
	if h.Pair {
		// On a routed host the far end has its own address, which only the near end can resolve.
		mac := hostMAC(src, dst)
		smac, dmac = mac[0], mac[1]
	}
	copy(d, dmac[:])
	copy(d[6:], smac[:])
	binary.BigEndian.PutUint16(d[12:], 0x0800)
	ip := d[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(text)))
	copy(ip[12:], src.IPv4.AsSlice())
	copy(ip[16:], dst.IPv4.AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	udp := ip[20:]
	binary.BigEndian.PutUint16(udp, 4001)
	binary.BigEndian.PutUint16(udp[2:], 4001)
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(text)))
	return append(d, text...)
}
