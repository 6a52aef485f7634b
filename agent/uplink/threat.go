package uplink

import (
	"bytes"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/report"
)

// threatKey identifies a kind of threat.
type threatKey struct {
	workload         string
	text             string
	src, dst         packet.Addr
	id               uint16
	srcPort, dstPort uint16
	proto            uint8
	ipv6             bool
}

// threat is the sum of one kind of threat since the last request.
type threat struct {
	count   uint64
	stamp   int64
	session uint64 // the only one; 0 if there were several, or none
	peer    string // workload in the node's network at the other end
	frame   []byte // the first packet with it; not changed
}

// maxThreats bounds the queued kinds of threat.
const maxThreats = 10_000

// maxFrame bounds the packet of a threat, as core/report does.
const maxFrame = 256

// threat merges a threat with others of its kind.
func (a *aggregate) threat(t *report.Threat) {
	w := a.workload(t.Endpoint)
	if w == "" {
		a.drop("unknown_endpoint", "", 1)
		return
	}
	k := threatKey{workload: w, text: t.Text, src: t.Src, dst: t.Dst, id: t.ID, srcPort: t.SrcPort, dstPort: t.DstPort, proto: t.Proto, ipv6: t.IPv6}
	c := threat{count: 1, stamp: t.Stamp, session: t.Session}
	if old, ok := a.threats[k]; !ok {
		c.frame = bytes.Clone(t.Frame[:min(len(t.Frame), maxFrame)])
		if a.peer != nil {
			c.peer, _ = a.peer(&flow.Record{Endpoint: t.Endpoint, First: t.Stamp, Last: t.Stamp,
				Key: flow.Key{Client: t.Src, Server: t.Dst, ClientPort: t.SrcPort, ServerPort: t.DstPort, Proto: t.Proto, IPv6: t.IPv6}})
		}
	} else {
		c.frame, c.peer = old.frame, old.peer
	}
	a.putThreat(k, c)
}

// putThreat adds c to its kind.
func (a *aggregate) putThreat(k threatKey, c threat) {
	old, ok := a.threats[k]
	switch {
	case ok:
		c = old.with(c)
	case !report.WithinShare(a.threatsOf[k.workload], maxThreats-len(a.threats)):
		a.drop("threats_full", k.workload, c.count)
		return
	default:
		a.threatsOf[k.workload]++
	}
	a.threats[k] = c
}

// with returns the sum of two, of which o is the newer one. The first packet is kept.
func (t threat) with(o threat) threat {
	t.count += o.count
	t.stamp = max(t.stamp, o.stamp)
	if t.session != o.session {
		t.session = 0
	}
	if t.frame == nil {
		t.frame = o.frame
	}
	if t.peer == "" {
		t.peer = o.peer
	}
	return t
}
