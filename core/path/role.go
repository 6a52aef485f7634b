package path

import (
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// role is which end of a session is the client, and how that is known.
type role struct {
	srcIsClient bool
	by          flow.Evidence
	midstream   bool // the beginning was not seen
}

// clientSide returns the role of the sender of a session's first packet, by evidence: a SYN; listening
// sockets of the workload; ports. recent is whether the endpoint's frames are judged since a
// moment ago only.
func clientSide(c *packetContext, recent bool) role {
	p := c.p
	midstream := false
	if p.Proto == packet.ProtoTCP {
		switch p.Flags & (packet.SYN | packet.ACK | packet.RST) {
		case packet.SYN:
			return role{true, flow.EvidenceHandshake, false}
		case packet.SYN | packet.ACK:
			return role{false, flow.EvidenceHandshake, false}
		}
		midstream = true
	}
	if src, ok := byListener(c.v, c.f.Dir, p); ok {
		return role{src, flow.EvidenceListener, midstream}
	}
	switch p.Proto {
	case packet.ProtoTCP:
		return role{serverPort(p.DstPort, p.SrcPort), flow.EvidencePort, true}
	case packet.ProtoUDP:
		// An answer whose question was not seen comes from a well-known port to a high one. Where
		// questions went by unseen a moment ago it comes from any port to one that systems give to
		// clients; to take it for a question there would refuse a conversation that is allowed.
		if p.SrcPort < 1024 && p.DstPort >= 1024 || p.SrcPort < ephemeral && p.DstPort >= ephemeral && recent {
			return role{false, flow.EvidencePort, true}
		}
	case packet.ProtoICMP:
		return role{p.ICMPType != 0, flow.EvidenceHandshake, false}
	case packet.ProtoICMPv6:
		return role{p.ICMPType != 129, flow.EvidenceHandshake, false}
	}
	return role{true, flow.EvidenceHandshake, false}
}

const (
	// ephemeral is where net.ipv4.ip_local_port_range begins.
	ephemeral = 32768
	// unseenAfter is the time without a batch after which a worker may have been stopped; steered
	// frames went by then. unseenFor is how long conversations may show up that began unseen, ns.
	unseenAfter = int64(500e6)
	unseenFor   = int64(5e9)
)

// recent reports whether the endpoint's frames are judged since a moment ago only. awake is when
// the worker went on after it may have been stopped.
func recent(v *View, now, awake int64) bool {
	return v.Inline && v.Since != 0 && now-max(v.Since, awake) < unseenFor
}

// serverPort reports whether a is likelier than b to be a server's port.
func serverPort(a, b uint16) bool {
	if (a < 1024) != (b < 1024) {
		return a < 1024
	}
	if (a < ephemeral) != (b < ephemeral) {
		return a < ephemeral
	}
	return a < b
}

// byListener looks the workload's end up among its listening sockets.
func byListener(v *View, dir packet.Direction, p *packet.Packet) (srcIsClient, ok bool) {
	if len(v.Listeners) == 0 || dir == packet.NoDirection {
		return false, false
	}
	local := p.SrcPort
	if dir == packet.Ingress {
		local = p.DstPort
	}
	if !v.Listeners[Listener{p.Proto, local}] {
		return false, false
	}
	return dir == packet.Ingress, true
}

// clientDir is the session's direction: Egress where the workload is the client.
func clientDir(frame packet.Direction, srcIsClient bool) packet.Direction {
	if srcIsClient {
		return frame
	}
	return frame.Reverse()
}
