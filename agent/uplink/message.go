package uplink

import (
	"maps"

	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/vocab"
)

// Bounds of one request. Controllers with a shared store keep it as one value there until the graph
// has it, of at most half the size of a commit.
const (
	maxConnections = 2000
	maxBytes       = 128 << 10
)

// packer fills requests, each up to the bounds.
type packer struct {
	rs   []*controlv1.ReportConnectionsRequest
	size int
	rows int
}

// room returns the request that has room for one more message.
func (p *packer) room(m proto.Message) *controlv1.ReportConnectionsRequest {
	more := proto.Size(m) + 4
	p.rows++
	if p.size += more; p.size > maxBytes || p.rows > maxConnections {
		p.rs = append(p.rs, &controlv1.ReportConnectionsRequest{})
		p.size, p.rows = more, 1
	}
	return p.rs[len(p.rs)-1]
}

// pack returns everything as requests without numbers, at least one. If records of a workload were lost
// since the last ones, its connections are marked: habits learned from them may be incomplete.
func (a *aggregate) pack() []*controlv1.ReportConnectionsRequest {
	p := packer{rs: []*controlv1.ReportConnectionsRequest{{Dropped: maps.Clone(a.dropped)}}}
	a.packKinds(&p, false)
	a.packKinds(&p, true) // beginnings come before the ends of what may be the same connections
	for k, t := range a.threats {
		m := &controlv1.ThreatRecord{Workload: k.workload, Id: uint32(k.id), Text: valid(k.text), Src: address(k.src, k.ipv6), Dst: address(k.dst, k.ipv6),
			SrcPort: uint32(k.srcPort), DstPort: uint32(k.dstPort), Proto: uint32(k.proto), Stamp: t.stamp, Count: t.count, Frame: t.frame, Session: t.session, Peer: t.peer}
		r := p.room(m)
		r.Threats = append(r.Threats, m)
	}
	for _, u := range a.unjudged {
		m := &controlv1.Unjudged{Workload: u.Workload, Interface: u.Interface, Backend: u.Backend, Cause: u.Cause, Dropped: u.Dropped,
			Frames: u.Frames, Bytes: u.Bytes, First: u.First, Last: u.Last}
		r := p.room(m)
		r.Unjudged = append(r.Unjudged, m)
	}
	return p.rs
}

// packKinds packs the kinds of which sessions have ended, or the others.
func (a *aggregate) packKinds(p *packer, ended bool) {
	for k, c := range a.kinds {
		if c.ended > 0 != ended {
			continue
		}
		m := connection(&k, &c)
		m.Lossy = m.Lossy || a.short[k.workload] || a.short[""]
		r := p.room(m)
		r.Connections = append(r.Connections, m)
	}
}

// connection returns a kind in the form of the API.
func connection(k *key, c *kind) *controlv1.Connection {
	m := &controlv1.Connection{
		Workload: k.workload, Peer: k.peer, Egress: c.Dir == packet.Egress, Client: address(c.Client, c.IPv6), Server: address(c.Server, c.IPv6),
		Proto: uint32(c.Proto), ServerPort: uint32(c.ServerPort), ClientPort: uint32(c.ClientPort), App: uint32(c.App), Base: uint32(c.Base), Strength: uint32(c.Strength),
		Verdict: vocab.Verdict(c.Verdict), Reason: vocab.Reason(c.Reason), Rule: c.Rule, Policy: c.Policy, Outcome: vocab.Outcome(c.Outcome), Evidence: vocab.Evidence(c.Evidence),
		Sessions: c.began, Continued: c.continued, Ended: c.ended, PacketsOut: c.Packets[0], PacketsIn: c.Packets[1], BytesOut: c.Bytes[0], BytesIn: c.Bytes[1],
		First: c.First, Last: c.Last, Answered: c.Answered, Received: c.Received, Midstream: c.Midstream, Simultaneous: c.Simultaneous, Idle: c.Idle, Enforced: c.Enforced, Lossy: c.Lossy, Session: c.Session,
	}
	for _, d := range []*flow.Detail{c.peer, c.service, c.Detail} {
		if d == nil || len(d.Attrs) == 0 {
			continue
		}
		if m.Attrs == nil {
			m.Attrs = make(map[string]string, len(d.Attrs))
		}
		for _, p := range d.Attrs {
			m.Attrs[p.Key] = valid(p.Value)
		}
	}
	return m
}
