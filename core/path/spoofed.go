package path

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// forgedEvery is how often a kind of forged packet is reported, ns; maxForged bounds the kinds
// that are remembered, and forgedOf those of one endpoint.
const (
	forgedEvery = int64(10e9)
	maxForged   = 2048
	forgedOf    = 64
)

// forgedKey is one kind of forged packet.
type forgedKey struct {
	flow.Key // without the client's port
	endpoint uint32
}

// forged sums up forged packets. They open no sessions, since their senders choose any addresses.
type forged struct {
	kinds map[forgedKey]*flow.Record
	of    map[uint32]int // kinds by endpoint
	swept int64
}

// spoofed reports a packet whose source address is not its sender's: it is never learned, and is a
// violation in each mode.
func (l *lifecycle) spoofed(c *packetContext) {
	p := c.p
	k := forgedKey{Key: flow.Key{Client: p.Src, Server: p.Dst, ServerPort: p.DstPort, Proto: p.Proto, IPv6: p.IPv6}, endpoint: c.v.ID}
	f := l.forged.kinds[k]
	if f == nil {
		if l.forged.kinds == nil {
			l.forged.kinds, l.forged.of = map[forgedKey]*flow.Record{}, map[uint32]int{}
		}
		if len(l.forged.kinds) >= maxForged || l.forged.of[c.v.ID] >= forgedOf {
			return // counted
		}
		f = &flow.Record{Key: k.Key, Endpoint: c.v.ID, Dir: c.f.Dir, Verdict: flow.Violate, Reason: flow.BySpoofed, Outcome: flow.OutcomeUnanswered,
			App: uint16(app.Unknown), Base: uint16(app.Unknown), Evidence: flow.EvidenceHandshake, Enforced: c.v.Inline}
		f.ClientPort = p.SrcPort
		if p.Proto == packet.ProtoICMP || p.Proto == packet.ProtoICMPv6 {
			f.ClientPort = 0
		}
		if c.v.Inline {
			f.Verdict, f.Outcome = flow.Deny, flow.OutcomeDenied
		}
		l.forged.kinds[k] = f
		l.forged.of[c.v.ID]++
	}
	now := stamp(c.f, l.now)
	if f.Packets[0] == 0 {
		f.First = now
	}
	f.Last = now
	f.Packets[0]++
	f.Bytes[0] += uint64(len(p.Network) + p.PayloadWire - len(p.Payload))
	if f.Session == 0 {
		l.recordForged(f)
	}
}

// recordForged writes what was summed up of a kind, as a session that ended.
func (l *lifecycle) recordForged(f *flow.Record) {
	f.Session = l.views.shared.IDs.Add(1)
	f.Policy = l.views.version
	f.Kind = flow.Start
	l.out.box.Put(f)
	f.Kind, f.Counters = flow.End, flow.Counters{}
	l.out.box.Put(f)
}

// sweepForged writes the sums of the kinds that are due, and forgets those that do not continue.
func (l *lifecycle) sweepForged() {
	if len(l.forged.kinds) == 0 || l.now-l.forged.swept < forgedEvery {
		return
	}
	l.forged.swept = l.now
	for k, f := range l.forged.kinds {
		if f.Packets[0] > 0 {
			l.recordForged(f)
			continue
		}
		delete(l.forged.kinds, k)
		if l.forged.of[k.endpoint]--; l.forged.of[k.endpoint] <= 0 {
			delete(l.forged.of, k.endpoint)
		}
	}
}
