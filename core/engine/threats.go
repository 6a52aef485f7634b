package engine

import (
	"bytes"

	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/core/session"
)

// A threat is reported once per (threat, endpoint, source) in this many ns.
const threatEvery = int64(10e9)

// threatKeep is how many of those are remembered.
const threatKeep = 4096

// threatBytes is how much of the packet that showed a threat is kept with it.
const threatBytes = 256

// cut returns the beginning of a packet that is kept; nil of none.
func cut(p []byte) []byte {
	if len(p) == 0 {
		return nil
	}
	return p[:min(len(p), threatBytes)]
}

type threatKey struct {
	id       uint16
	endpoint uint32
	src      packet.Addr
}

// threatGate remembers what was reported lately.
type threatGate struct{ last map[threatKey]int64 }

// admit says whether a threat is to be reported now.
func (g *threatGate) admit(k threatKey, now int64) bool {
	if at, ok := g.last[k]; ok && now-at < threatEvery {
		return false
	}
	if g.last == nil || len(g.last) >= threatKeep {
		g.last = make(map[threatKey]int64)
	}
	g.last[k] = now
	return true
}

// threat reports what a packet's headers show.
func (w *worker) threat(v *view, p *packet.Packet, sid uint64, id uint16, text string) {
	w.count[counter.Threats]++
	if !w.threats.admit(threatKey{id, v.id, p.Src}, w.now) {
		return
	}
	t := report.Threat{
		ID: id, Endpoint: v.id, Session: sid, Stamp: w.now, Src: p.Src, Dst: p.Dst, SrcPort: p.SrcPort, DstPort: p.DstPort,
		Proto: p.Proto, IPv6: p.IPv6, Text: text,
	}
	t.Frame = bytes.Clone(cut(p.Network))
	w.out.Threat(&t)
}

// threatOf reports what a session's payload shows, with the packet that showed it, from its IP
// header on; nil if that is gone.
func (w *worker) threatOf(s *session.Session, shown []byte, id uint16, text string) {
	w.count[counter.Threats]++
	client, cport := s.Client()
	server, sport := s.Server()
	if !w.threats.admit(threatKey{id, s.Key.Endpoint, client}, w.now) {
		return
	}
	w.out.Threat(&report.Threat{
		ID: id, Endpoint: s.Key.Endpoint, Session: s.ID, Stamp: w.now, Src: client, Dst: server, SrcPort: cport, DstPort: sport,
		Proto: s.Key.Proto, IPv6: s.Key.IPv6, Text: text,
		Frame: bytes.Clone(cut(shown)),
	})
}
