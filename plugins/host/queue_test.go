package host_test

import (
	"context"
	"encoding/binary"
	"io"
	"net/netip"
	"sync"
	"testing"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/parsers/builtin"
	"github.com/sluicenet/sluice/plugins/host"
)

// queue is a queue in memory. What passes and what is sent is kept in order, as the other side would see it.
type queue struct {
	mu      sync.Mutex
	cond    *sync.Cond
	in      []packet.Frame
	settled int
	out     []packet.Frame // passed or sent
	// payloads is how many frames of out are longer than headers.
	payloads int
	woken    bool
	closed   bool
}

func newQueue() *queue {
	q := &queue{}
	q.cond = sync.NewCond(&q.mu)
	return q
}

func (q *queue) Recv(b *packet.Batch) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.in) == 0 && !q.woken && !q.closed {
		q.cond.Wait()
	}
	q.woken = false
	if len(q.in) == 0 && q.closed {
		return io.EOF
	}
	n := min(len(q.in), 64)
	for _, f := range q.in[:n] {
		*b.Add() = f
	}
	q.in = q.in[n:]
	return nil
}

func (q *queue) Settle(b *packet.Batch) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, f := range b.All() {
		q.settled++
		if f.Verdict.Action == packet.Pass {
			q.went(&f)
		}
	}
	q.cond.Broadcast()
	return nil
}

func (q *queue) Send(f *packet.Frame) error {
	g := *f
	g.Data = append([]byte(nil), f.Data...)
	q.mu.Lock()
	q.went(&g)
	q.mu.Unlock()
	q.cond.Broadcast()
	return nil
}

func (q *queue) Wake() {
	q.mu.Lock()
	q.woken = true
	q.mu.Unlock()
	q.cond.Broadcast()
}

func (q *queue) Close() error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.cond.Broadcast()
	return nil
}

// give hands frames over and waits until each has its verdict.
func (q *queue) give(frames ...packet.Frame) {
	q.mu.Lock()
	defer q.mu.Unlock()
	want := q.settled + len(q.in) + len(frames)
	q.in = append(q.in, frames...)
	q.cond.Broadcast()
	for q.settled < want {
		q.cond.Wait()
	}
}

// seen is the payload that the server of a client's port got, and the resets sent for it.
func (q *queue) seen(client uint16) (payload string, resets int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, f := range q.out {
		var p packet.Packet
		p.Decode(&f)
		switch {
		case p.SrcPort != client && p.DstPort != client:
		case p.Flags&packet.RST != 0:
			resets++
		case p.SrcPort == client:
			payload += string(p.Payload)
		}
	}
	return payload, resets
}

type memory struct{ q *queue }

func (m memory) Attach(context.Context, backend.Endpoint) (backend.Attachment, error) { return m, nil }
func (m memory) Queues() []backend.Queue                                              { return []backend.Queue{m.q} }
func (m memory) Activate() error                                                      { return nil }
func (m memory) Close() error                                                         { return nil }

// bed is an engine with one protected workload at 10.0.0.1 and fd00::1, whose parsers are in plugins.
type bed struct {
	q     *queue
	e     *engine.Engine
	flows map[uint64]flow.Record // the newest record of each session
}

func newBed(t testing.TB, h *host.Host, rules ...policy.RuleSpec) *bed {
	t.Helper()
	return newBedOf(t, h, policy.WorkloadSpec{Mode: policy.Protect}, rules...)
}

// newBedOf is newBed with the workload's settings.
func newBedOf(t testing.TB, h *host.Host, w policy.WorkloadSpec, rules ...policy.RuleSpec) *bed {
	t.Helper()
	w.ID = "w"
	reg, err := builtin.Local()
	if err != nil {
		t.Fatal(err)
	}
	cfg := engine.Config{Parsers: reg}
	if h != nil {
		cfg.Remote = h
	} else if cfg.Parsers, err = builtin.Registry(); err != nil {
		t.Fatal(err)
	}
	b := &bed{q: newQueue(), e: engine.New(cfg), flows: map[uint64]flow.Record{}}
	table, err := policy.Compile(&policy.Spec{
		Version: 1, Groups: []policy.GroupSpec{{Name: "any", Any: true}}, Identities: []policy.IdentitySpec{{Groups: []uint32{0}}},
		Workloads: []policy.WorkloadSpec{w}, Rules: rules,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.e.Apply(table)
	if err := b.e.Attach(context.Background(), memory{b.q}, backend.Endpoint{ID: 1, Kind: backend.Inline, MAC: [6]byte{2, 0, 0, 0, 0, 1}}, "w"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.e.Close() })
	return b
}

// drain takes the newest records in; those of a client's port are returned.
func (b *bed) drain(client uint16) (f flow.Record) {
	b.q.Wake()
	b.e.Drain(func(x *flow.Record) {
		if d := b.flows[x.Session].Detail; x.Detail == nil {
			x.Detail = d
		}
		b.flows[x.Session] = *x
	})
	for _, x := range b.flows {
		if x.ClientPort == client {
			return x
		}
	}
	return f
}

// conn makes the frames of one connection from the workload.
type conn struct {
	v6     bool
	client uint16
	seq    [2]uint32
	peer   byte // distinguishes servers
}

func newConn(v6 bool, client uint16) *conn {
	return &conn{v6: v6, client: client, seq: [2]uint32{1000, 9000}}
}

// open is the handshake.
func (c *conn) open() []packet.Frame {
	return []packet.Frame{c.frame(0, packet.SYN, ""), c.frame(1, packet.SYN|packet.ACK, ""), c.frame(0, packet.ACK, "")}
}

// frame is a segment of the client (0) or the server (1), to port 8080.
func (c *conn) frame(end int, flags uint8, payload string) packet.Frame {
	l3 := 20
	b := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}
	if c.v6 {
		l3, b[12], b[13] = 40, 0x86, 0xdd
	}
	b = append(b, make([]byte, l3+20)...)
	ip := b[14:]
	a := [2]string{"10.0.0.1", "10.0.0.2"}
	if c.v6 {
		a = [2]string{"fd00::1", "fd00::2"}
		ip[0], ip[6], ip[7] = 0x60, 6, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(20+len(payload)))
		copy(ip[8:], netip.MustParseAddr(a[end]).AsSlice())
		copy(ip[24:], netip.MustParseAddr(a[1-end]).AsSlice())
	} else {
		ip[0], ip[8], ip[9] = 0x45, 64, 6
		binary.BigEndian.PutUint16(ip[2:], uint16(40+len(payload)))
		copy(ip[12:], netip.MustParseAddr(a[end]).AsSlice())
		copy(ip[16:], netip.MustParseAddr(a[1-end]).AsSlice())
	}
	size := 4
	if c.v6 {
		size = 16
	}
	ip[l3-2-size*end] ^= c.peer // the last byte but one of the server's address
	tcp, ports := ip[l3:], [2]uint16{c.client, 8080}
	binary.BigEndian.PutUint16(tcp[0:], ports[end])
	binary.BigEndian.PutUint16(tcp[2:], ports[1-end])
	binary.BigEndian.PutUint32(tcp[4:], c.seq[end])
	if flags&packet.ACK != 0 {
		binary.BigEndian.PutUint32(tcp[8:], c.seq[1-end])
	}
	tcp[12], tcp[13] = 5<<4, flags
	binary.BigEndian.PutUint16(tcp[14:], 60000)
	c.seq[end] += uint32(len(payload))
	if flags&(packet.SYN|packet.FIN) != 0 {
		c.seq[end]++
	}
	dir := packet.Egress
	if end == 1 {
		dir = packet.Ingress
	}
	b = append(b, payload...)
	fillChecksums(b[14:], l3)
	return packet.Frame{Data: b, Wire: uint32(len(b)), Endpoint: 1, Dir: dir}
}

// fillChecksums fills in those of a TCP segment, whose header begins at l3 of its IP packet.
func fillChecksums(ip []byte, l3 int) {
	p := packet.Packet{}
	f := packet.Frame{Data: ip, Wire: uint32(len(ip)), Link: packet.RawIP}
	if p.Decode(&f); l3 == 20 {
		binary.BigEndian.PutUint16(ip[10:], packet.Checksum(ip[:l3], 0))
	}
	tcp := ip[l3:]
	binary.BigEndian.PutUint16(tcp[16:], packet.Checksum(tcp, packet.PseudoSum(&p.Src, &p.Dst, 6, len(tcp))))
}

// await waits until so many segments with payload were passed.
func (q *queue) await(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.payloads < n {
		q.cond.Wait()
	}
}

// clear forgets what was passed.
func (q *queue) clear() {
	q.mu.Lock()
	q.out, q.payloads = q.out[:0], 0
	q.mu.Unlock()
}

// went keeps a frame that was passed. The lock is held.
func (q *queue) went(f *packet.Frame) {
	q.out = append(q.out, *f)
	if len(f.Data) > 14+60 {
		q.payloads++
	}
}
