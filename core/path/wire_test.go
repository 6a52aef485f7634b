package path_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/parsers"
)

// wire is a client and a server, with a protected end at one of them or at both, on one clock.
type wire struct {
	t       *testing.T
	v6      bool
	now     int64
	hops    []*stage // from the client to the server
	remotes []*delayed
	end     [2]receiver // what reached the server, and the client
}

// receiver is the end of a connection as its kernel has it.
type receiver struct {
	next  uint32 // the number that it expects
	got   map[uint32]byte
	bytes int // payload bytes delivered, also repeated ones
	reset bool
	wrong int // resets that it does not accept
}

// receive delivers a segment or a datagram.
func (r *receiver) receive(p *packet.Packet) {
	if p.Flags&packet.RST != 0 && p.Proto == packet.ProtoTCP {
		if p.Seq == r.next { // RFC 5961 3.2
			r.reset = true
		} else if !r.reset {
			r.wrong++
		}
		return
	}
	r.bytes += len(p.Payload)
	if p.Proto != packet.ProtoTCP {
		return
	}
	for i, b := range p.Payload {
		if int32(p.Seq+uint32(i)-r.next) >= 0 {
			r.got[p.Seq+uint32(i)] = b // kernels differ: out of order, the last one counts here
		}
	}
	for ; ; r.next++ {
		if _, ok := r.got[r.next]; !ok {
			return
		}
	}
}

// text returns the bytes in order from a number on.
func (r *receiver) text(from uint32) string {
	var b []byte
	for at := from; at != r.next; at++ {
		b = append(b, r.got[at])
	}
	return string(b)
}

// plan is one combination.
type plan struct {
	ends   string // client, server, both
	v6     bool
	place  string        // in process, plugin, slow plugin, no answer
	inside bool          // held packets stay in the queue
	hold   time.Duration // of the groups
	apps   []app.ID
	proto  uint8

	version uint64 // of the last table
}

// lab returns the wire of a plan.
func (pl *plan) lab(t *testing.T, reg *parsers.Registry) *wire {
	w := &wire{t: t, v6: pl.v6, now: begin}
	ids := map[string][]uint32{"client": {1}, "server": {2}, "both": {1, 2}}[pl.ends]
	for _, id := range ids {
		var options []option
		if delay, ok := map[string]time.Duration{"plugin": time.Millisecond, "slow plugin": 300 * time.Millisecond, "no answer": time.Hour}[pl.place]; ok {
			r := &delayed{delay: int64(delay), now: &w.now, reg: reg, flows: map[uint64]*guest{}}
			w.remotes = append(w.remotes, r)
			options = append(options, func(c *path.Config, _ *stage) { c.Identify = identify.Config{Parsers: &parsers.Registry{}, Remote: r} })
		} else {
			options = append(options, func(c *path.Config, _ *stage) { c.Identify = identify.Config{Parsers: reg} })
		}
		if pl.inside {
			options = append(options, func(c *path.Config, s *stage) {
				h := &keeper{}
				c.Queue, s.q = h, &h.queue
			})
		}
		s := newStage(t, policy.Protect, options...)
		s.shared.Policy.Store(&path.Policy{Generation: 1, Table: pl.table(t, id)})
		w.hops = append(w.hops, s)
	}
	return w
}

// table is the policy of one end: the client's identity is 1, the server's 2.
func (pl *plan) table(t *testing.T, id uint32) *policy.Table {
	pl.version++
	table, err := policy.Compile(&policy.Spec{
		Version:    pl.version,
		Groups:     []policy.GroupSpec{{Name: "any", Any: true}, {Name: "svc:default/w"}, {Name: "svc:default/peer"}},
		Identities: []policy.IdentitySpec{{Groups: []uint32{0}}, {Groups: []uint32{0, 1}}, {Groups: []uint32{0, 2}}},
		Addresses: []policy.AddressSpec{
			{Prefix: netip.MustParsePrefix("10.0.0.1/32"), Identity: 1}, {Prefix: netip.MustParsePrefix("fd00::1/128"), Identity: 1},
			{Prefix: netip.MustParsePrefix("10.0.0.2/32"), Identity: 2}, {Prefix: netip.MustParsePrefix("fd00::2/128"), Identity: 2},
		},
		Workloads: []policy.WorkloadSpec{{ID: "w", Identity: id, Mode: policy.Protect, Hold: pl.hold}},
		Rules:     []policy.RuleSpec{allow(7, pl.proto, 8080, pl.apps...)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// set applies a policy.
func (s *stage) set(version uint32, table *policy.Table) {
	s.shared.Policy.Store(&path.Policy{Generation: version, Table: table})
}

// keeper is a queue that keeps held packets: only those can be sent, once.
type keeper struct{ queue }

func (k *keeper) Discard(*packet.Frame) {}

// carry moves frames from one end (0 is the client's) towards the other, from a hop on.
func (w *wire) carry(from, hop int, frames ...packet.Frame) {
	step := 1 - 2*from
	for ; hop >= 0 && hop < len(w.hops); hop += step {
		s := w.hops[hop]
		var on []packet.Frame
		for i := range frames {
			frames[i].Dir = w.dir(hop, from)
			frames[i].Flags &^= packet.Injected
			frames[i].Verdict = packet.Verdict{}
		}
		s.now = w.now
		for i, a := range s.give(frames...) {
			if a == packet.Pass {
				on = append(on, frames[i])
			}
		}
		w.collect(hop)
		frames = on
	}
	var p packet.Packet
	for i := range frames {
		if p.Decode(&frames[i]); p.Status == packet.OK {
			w.end[from].receive(&p)
		}
	}
}

// dir is the direction of what comes from an end, at a hop.
func (w *wire) dir(hop, from int) packet.Direction {
	server := w.hops[hop].shared.Policy.Load().Table.Workload("w").Identity() == 2
	if server == (from == 0) {
		return packet.Ingress
	}
	return packet.Egress
}

// collect carries on what a hop has sent.
func (w *wire) collect(hop int) {
	s := w.hops[hop]
	for len(s.q.sent) > 0 {
		sent := s.q.sent
		s.q.sent = nil
		for _, f := range sent {
			from := 0
			if f.Dir != w.dir(hop, 0) {
				from = 1
			}
			w.carry(from, hop+1-2*from, f)
		}
	}
}

// pass advances the clock to every deadline within d.
func (w *wire) pass(d time.Duration) {
	for end := w.now + int64(d); w.now < end; {
		next := min(end, w.now+int64(250e6))
		for _, s := range w.hops {
			if at := s.p.Alarm(); at > 0 {
				next = min(next, at+session.Tick)
			}
		}
		for _, r := range w.remotes {
			if at := r.due(); at > 0 {
				next = min(next, at)
			}
		}
		w.now = max(next, w.now+1)
		for i, s := range w.hops {
			s.now = w.now
			s.give()
			w.collect(i)
		}
	}
}

// open opens the connection and sets what the ends expect.
func (w *wire) open(c *conn) {
	w.end[0] = receiver{next: c.seq[0] + 1, got: map[uint32]byte{}}
	w.end[1] = receiver{next: c.seq[1] + 1, got: map[uint32]byte{}}
	w.carry(0, 0, c.seg(w.t, 0, "S", ""))
	w.carry(1, len(w.hops)-1, c.seg(w.t, 1, "SA", ""))
	w.carry(0, 0, c.seg(w.t, 0, "A", ""))
}
