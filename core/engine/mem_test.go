package engine_test

import (
	"context"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// memQueue is a queue in memory: give passes frames to it, and their verdicts are kept.
type memQueue struct {
	mu      sync.Mutex
	cond    *sync.Cond
	in      [][]packet.Frame
	settled []packet.Frame
	sent    []packet.Frame
	woken   bool
	closed  bool
}

func newMemQueue() *memQueue {
	q := &memQueue{}
	q.cond = sync.NewCond(&q.mu)
	return q
}

func (q *memQueue) Recv(b *packet.Batch) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.in) == 0 && !q.woken && !q.closed {
		q.cond.Wait()
	}
	q.woken = false
	if len(q.in) > 0 {
		for _, f := range q.in[0] {
			*b.Add() = f
		}
		q.in = q.in[1:]
		return nil
	}
	if q.closed {
		return io.EOF
	}
	return nil
}

func (q *memQueue) Settle(b *packet.Batch) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settled = append(q.settled, b.All()...)
	q.cond.Broadcast()
	return nil
}

func (q *memQueue) Wake() {
	q.mu.Lock()
	q.woken = true
	q.mu.Unlock()
	q.cond.Broadcast()
}

func (q *memQueue) Close() error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.cond.Broadcast()
	return nil
}

func (q *memQueue) Send(f *packet.Frame) error {
	g := *f
	g.Data = append([]byte(nil), f.Data...)
	q.mu.Lock()
	q.sent = append(q.sent, g)
	q.mu.Unlock()
	return nil
}

// give passes frames as one batch and waits until they are settled.
func (q *memQueue) give(frames ...packet.Frame) []packet.Frame {
	q.mu.Lock()
	defer q.mu.Unlock()
	from := len(q.settled)
	q.in = append(q.in, frames)
	q.cond.Broadcast()
	for len(q.settled) < from+len(frames) {
		q.cond.Wait()
	}
	return append([]packet.Frame(nil), q.settled[from:]...)
}

// takeSent returns the frames that the engine sent since the last call.
func (q *memQueue) takeSent() []packet.Frame {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.sent
	q.sent = nil
	return s
}

// memBackend attaches taps to their own queues and inline endpoints to a shared one.
type memBackend struct {
	inline *memQueue
	taps   map[uint32]*memQueue
}

type memAttachment struct{ q *memQueue }

func (a memAttachment) Queues() []backend.Queue { return []backend.Queue{a.q} }
func (a memAttachment) Activate() error         { return nil }
func (a memAttachment) Close() error            { return nil }

func (b *memBackend) Attach(_ context.Context, ep backend.Endpoint) (backend.Attachment, error) {
	if ep.Kind == backend.Inline {
		return memAttachment{b.inline}, nil
	}
	q := newMemQueue()
	b.taps[ep.ID] = q
	return memAttachment{q}, nil
}

func (b *memBackend) Close() error { return nil }

// bench is an engine with one workload at 10.0.0.1 and fd00::1, endpoint 1.
type bench struct {
	t  *testing.T
	e  *engine.Engine
	be *memBackend
}

func newBench(t *testing.T) *bench { return newBenchOf(t, engine.Config{}) }

// newBenchOf is newBench with settings of the engine.
func newBenchOf(t *testing.T, cfg engine.Config) *bench {
	t.Helper()
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Parsers = reg
	b := &bench{t: t, e: engine.New(cfg), be: &memBackend{inline: newMemQueue(), taps: map[uint32]*memQueue{}}}
	t.Cleanup(func() { b.e.Close() })
	return b
}

// policy applies rules for the workload in a mode.
func (b *bench) policy(version uint64, mode policy.Mode, w policy.WorkloadSpec, rules ...policy.RuleSpec) {
	b.t.Helper()
	w.ID, w.Identity, w.Mode = "w", 1, mode
	table, err := policy.Compile(&policy.Spec{
		Version:    version,
		Groups:     []policy.GroupSpec{{Name: "any", Any: true}, {Name: "svc:default/w"}, {Name: "svc:default/peer"}},
		Identities: []policy.IdentitySpec{{Groups: []uint32{0}}, {Groups: []uint32{0, 1}}, {Groups: []uint32{0, 2}}},
		Addresses: []policy.AddressSpec{
			{Prefix: netip.MustParsePrefix("10.0.0.1/32"), Identity: 1}, {Prefix: netip.MustParsePrefix("fd00::1/128"), Identity: 1},
			{Prefix: netip.MustParsePrefix("10.0.0.2/32"), Identity: 2}, {Prefix: netip.MustParsePrefix("fd00::2/128"), Identity: 2},
		},
		Workloads: []policy.WorkloadSpec{w}, Rules: rules,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.e.Apply(table)
}

func (b *bench) attach(kind backend.Kind) *memQueue {
	b.t.Helper()
	if err := b.e.Attach(context.Background(), b.be, backend.Endpoint{ID: 1, Kind: kind, MAC: [6]byte{2, 0, 0, 0, 0, 1}}, "w"); err != nil {
		b.t.Fatal(err)
	}
	if kind == backend.Inline {
		return b.be.inline
	}
	return b.be.taps[1]
}

// flows drains records until one satisfies ok, for 3 s at most.
func (b *bench) flows(ok func(flow.Record) bool) []flow.Record {
	b.t.Helper()
	var all []flow.Record
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		b.e.Drain(func(f *flow.Record) { all = append(all, *f) })
		for _, f := range all {
			if ok(f) {
				return all
			}
		}
		for _, q := range b.be.taps {
			q.Wake()
		}
		b.be.inline.Wake()
	}
	b.t.Fatalf("no record matched among %d: %+v", len(all), all)
	return nil
}

// conn builds the segments of one TCP connection from the workload to a server.
type conn struct {
	v6           bool
	cport, sport uint16
	seq          [2]uint32
}

func newConn(v6 bool, cport, sport uint16) *conn {
	return &conn{v6: v6, cport: cport, sport: sport, seq: [2]uint32{1000, 90000}}
}

// seg returns a segment of one end (0 client) with the next sequence numbers.
func (c *conn) seg(t *testing.T, end int, flags string, payload string) packet.Frame {
	t.Helper()
	tcp := &layers.TCP{SrcPort: layers.TCPPort(c.cport), DstPort: layers.TCPPort(c.sport), Seq: c.seq[end], Ack: c.seq[1-end], Window: 65000}
	if end == 1 {
		tcp.SrcPort, tcp.DstPort = tcp.DstPort, tcp.SrcPort
	}
	n := uint32(len(payload))
	for _, f := range flags {
		switch f {
		case 'S':
			tcp.SYN = true
			n++
		case 'A':
			tcp.ACK = true
		case 'F':
			tcp.FIN = true
			n++
		case 'R':
			tcp.RST = true
		case 'P':
			tcp.PSH = true
		}
	}
	if !tcp.ACK {
		tcp.Ack = 0
	}
	c.seq[end] += n
	return frameOf(t, c.v6, end, layers.IPProtocolTCP, tcp, payload)
}

// frameOf builds an Ethernet frame from the workload (end 0) or to it.
func frameOf(t *testing.T, v6 bool, end int, proto layers.IPProtocol, l4 gopacket.SerializableLayer, payload string) packet.Frame {
	t.Helper()
	macs := [2][]byte{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}
	eth := &layers.Ethernet{SrcMAC: macs[end], DstMAC: macs[1-end], EthernetType: layers.EthernetTypeIPv4}
	var net interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	}
	addr := func(v6 bool, n int) []byte {
		if v6 {
			return netip.MustParseAddr([]string{"fd00::1", "fd00::2"}[n]).AsSlice()
		}
		return netip.MustParseAddr([]string{"10.0.0.1", "10.0.0.2"}[n]).AsSlice()
	}
	if v6 {
		eth.EthernetType = layers.EthernetTypeIPv6
		net = &layers.IPv6{Version: 6, NextHeader: proto, HopLimit: 64, SrcIP: addr(true, end), DstIP: addr(true, 1-end)}
	} else {
		net = &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: addr(false, end), DstIP: addr(false, 1-end)}
	}
	switch l := l4.(type) {
	case *layers.TCP:
		_ = l.SetNetworkLayerForChecksum(net)
	case *layers.UDP:
		_ = l.SetNetworkLayerForChecksum(net)
	case *layers.ICMPv6:
		_ = l.SetNetworkLayerForChecksum(net)
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, net, l4, gopacket.Payload(payload)); err != nil {
		t.Fatal(err)
	}
	dir := packet.Egress
	if end == 1 {
		dir = packet.Ingress
	}
	data := append([]byte(nil), buf.Bytes()...)
	return packet.Frame{Data: data, Wire: uint32(len(data)), Endpoint: 1, Dir: dir, Stamp: time.Now().UnixNano()}
}
