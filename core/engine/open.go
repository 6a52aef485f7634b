package engine

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// Flags of session.Session that are the engine's own.
const (
	flagIdentified = session.EngineFlag << iota // identification is over
	flagChanged                                 // something is new since the last record
	flagPassed                                  // its hold time ran out and it passes
	flagIdle                                    // armed with its time-out, not with a report
	flagEnded                                   // the End record was written
	flagTraced                                  // its real destination was looked up (lo only)
	flagReleased                                // it was held once, and is not again
	flagLost                                    // its application is unknown because parsers were away
	flagOffloaded                               // it may pass in the kernel, which counts it
)

// Time-outs of reporting, ns.
const (
	startAfter  = int64(250e6) // a session is reported at the latest this long after its first packet
	updateEvery = int64(2e9)   // and then this often while it carries anything
	endAfter    = int64(50e6)  // its end is, this long after it closed
)

// open makes the session of a packet whose session is not known; nil when the table is full.
func (w *worker) open(v *view, f *packet.Frame, p *packet.Packet, k *session.Key, swapped bool) *session.Session {
	now := w.stamp(f)
	s := w.table.Insert(k, now)
	if s == nil {
		return nil
	}
	srcIsClient, evidence, midstream := w.clientSide(v, f, p)
	s.ClientIsA = srcIsClient != swapped
	s.ID = w.e.ids.Add(1)
	s.App, s.Base = uint16(app.Undecided), uint16(app.Undecided)
	s.Evidence = uint8(evidence)
	s.Dir = clientDir(f.Dir, srcIsClient)
	if midstream {
		s.Flags |= session.Midstream
	}
	if p.Proto != packet.ProtoTCP && p.Proto != packet.ProtoUDP {
		s.App, s.Base = uint16(app.Unknown), uint16(app.Unknown)
		s.Flags |= flagIdentified
	}
	w.count[counter.Opened]++
	w.tally(v).n[atOpened]++
	w.begun(v)
	w.table.Schedule(s, now+startAfter)
	return s
}

// clientDir is the session's direction: Egress where the workload is the client.
func clientDir(frame packet.Direction, srcIsClient bool) packet.Direction {
	if srcIsClient {
		return frame
	}
	return frame.Reverse()
}

// clientSide tells whether the packet's sender is the client, by evidence: a SYN; listening
// sockets of the workload; ports. Who spoke the protocol's client part corrects
// a guess later (identify).
func (w *worker) clientSide(v *view, f *packet.Frame, p *packet.Packet) (src bool, by flow.Evidence, midstream bool) {
	if p.Proto == packet.ProtoTCP {
		switch p.Flags & (packet.SYN | packet.ACK | packet.RST) {
		case packet.SYN:
			return true, flow.EvidenceHandshake, false
		case packet.SYN | packet.ACK:
			return false, flow.EvidenceHandshake, false
		}
		midstream = true
	}
	if src, ok := byListener(v, f, p); ok {
		return src, flow.EvidenceListener, midstream
	}
	switch p.Proto {
	case packet.ProtoTCP:
		return serverPort(p.DstPort, p.SrcPort), flow.EvidencePort, true
	case packet.ProtoUDP:
		// An answer whose question was not seen comes from a well-known port to a high one. Where
		// questions went by unseen a moment ago it comes from any port to one that systems give to
		// clients; who took it for a question there would refuse a conversation that is allowed.
		if p.SrcPort < 1024 && p.DstPort >= 1024 || p.SrcPort < ephemeral && p.DstPort >= ephemeral && w.news(v) {
			return false, flow.EvidencePort, true
		}
		return true, flow.EvidenceHandshake, false
	case packet.ProtoICMP:
		return p.ICMPType != 0, flow.EvidenceHandshake, false
	case packet.ProtoICMPv6:
		return p.ICMPType != 129, flow.EvidenceHandshake, false
	}
	return true, flow.EvidenceHandshake, false
}

const (
	// ephemeral is where net.ipv4.ip_local_port_range begins.
	ephemeral = 32768
	// unseenAfter is the time without a batch after which a worker may have been stopped; steered
	// frames went by then. unseenFor is how long conversations may show up that began unseen, ns.
	unseenAfter = int64(500e6)
	unseenFor   = int64(5e9)
)

// news says whether the endpoint's frames are judged since a moment ago only.
func (w *worker) news(v *view) bool {
	return v.inline && v.since != 0 && w.now-max(v.since, w.awake) < unseenFor
}

// serverPort says whether a is likelier than b to be a server's port.
func serverPort(a, b uint16) bool {
	if (a < 1024) != (b < 1024) {
		return a < 1024
	}
	if (a < ephemeral) != (b < ephemeral) {
		return a < ephemeral
	}
	return a < b
}

// byListener asks the listening sockets of the workload.
func byListener(v *view, f *packet.Frame, p *packet.Packet) (srcIsClient, ok bool) {
	if len(v.listeners) == 0 || f.Dir == packet.NoDirection {
		return false, false
	}
	local := p.SrcPort
	if f.Dir == packet.Ingress {
		local = p.DstPort
	}
	if !v.listeners[Listener{p.Proto, local}] {
		return false, false
	}
	return f.Dir == packet.Ingress, true
}
