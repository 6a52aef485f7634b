// Package role finds out which end of a session is its client, and how well that is known.
// Values go in and a Claim comes out: it keeps no session, reads no socket and asks no policy.
//
// What is known, best first: the beginning of the connection was seen; a socket of the workload
// listens on the port; the side was known before a restart; the list of listening sockets is
// complete and the port is not in it; port numbers. Only the first two are firm. Everything
// else may be wrong, so policy is asked about both orientations then.
package role

import (
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// Ephemeral is where net.ipv4.ip_local_port_range begins: Linux gives clients ports from here on.
const Ephemeral = 32768

// wellKnown is the first port that everybody may bind (RFC 6335 6: system ports end before it).
const wellKnown = 1024

// Claim is what a packet that opens a session shows of its ends.
type Claim struct {
	// FromSource: the packet's sender is the client.
	FromSource bool
	// Midstream: the beginning was not seen, or may not have been.
	Midstream bool
	// Firm: the side is known. Otherwise a decision that refuses has to hold for both orientations.
	Firm     bool
	Evidence flow.Evidence
}

// Context is what is known about a workload while its packets are judged. The zero value knows
// nothing, and takes the first packet of a datagram protocol for the beginning.
type Context struct {
	Sockets *Sockets // nil while they were not read
	Memory  *Memory  // nil without
	Seed    Seed     // the workload's
	// Recent: packets of the workload are seen for less than a UDP time-out, so that the first
	// packet that is seen of a conversation may be in the middle of it.
	Recent bool
	// Unseen: packets went by unseen a moment ago, in spite of being attached.
	Unseen bool
}

// Opening judges the packet that opens a session. dir is the packet's as seen from the
// workload; with NoDirection nothing is known of the workload's sockets.
func (c *Context) Opening(p *packet.Packet, dir packet.Direction) Claim {
	switch p.Proto {
	case packet.ProtoICMP:
		return Claim{FromSource: p.ICMPType != 0, Firm: true, Evidence: flow.EvidenceHandshake}
	case packet.ProtoICMPv6:
		return Claim{FromSource: p.ICMPType != 129, Firm: true, Evidence: flow.EvidenceHandshake}
	case packet.ProtoTCP:
		switch p.Flags & (packet.SYN | packet.ACK | packet.RST) {
		case packet.SYN:
			return Claim{FromSource: true, Firm: true, Evidence: flow.EvidenceHandshake}
		case packet.SYN | packet.ACK:
			return Claim{FromSource: false, Firm: true, Evidence: flow.EvidenceHandshake}
		}
	default:
		if c.begins(p, dir) {
			return Claim{FromSource: true, Firm: true, Evidence: flow.EvidenceHandshake}
		}
	}
	return c.midstream(p, dir)
}

// midstream is the claim of a packet whose session began earlier, or may have.
func (c *Context) midstream(p *packet.Packet, dir packet.Direction) Claim {
	if dir == packet.NoDirection {
		return Claim{FromSource: sourceAsks(p), Midstream: true, Evidence: flow.EvidencePort}
	}
	t := TupleOf(p, dir)
	k := c.Known(&t)
	claim := Claim{FromSource: (k.Side == Client) == (dir == packet.Egress), Midstream: true, Firm: k.Firm, Evidence: k.Evidence}
	if k.Side == Unknown {
		claim.FromSource = sourceAsks(p)
	}
	return claim
}

// begins reports whether a packet of a protocol without handshake is the first of its
// conversation. Where the workload's packets are seen for a shorter time than conversations
// may be silent, it is if its local port was free when that began.
func (c *Context) begins(p *packet.Packet, dir packet.Direction) bool {
	local := p.SrcPort
	if dir == packet.Ingress {
		local = p.DstPort
	}
	if c.Unseen || c.Recent && (dir == packet.NoDirection || !c.Sockets.boundSince(p.Proto, local)) {
		return false
	}
	// A system port that speaks to a client's port answers, unless the workload serves there.
	if p.Proto == packet.ProtoUDP && p.SrcPort < wellKnown && p.DstPort >= wellKnown {
		return dir == packet.Ingress && c.Sockets.listens(p.Proto, local)
	}
	return true
}

// sourceAsks reports whether the sender is likelier than the receiver to be the client, by
// ports. Between equals a TCP segment says nothing, and the lower port is the server's; of
// datagrams the first one seen is likelier to ask.
func sourceAsks(p *packet.Packet) bool {
	if by := byPorts(p.SrcPort, p.DstPort); by != Unknown {
		return by == Client
	}
	return p.Proto != packet.ProtoTCP || p.DstPort < p.SrcPort
}

// byPorts is the side that the end with the port near is likely to be; Unknown where the
// ports are of one class: system ports, other ports of services, or those of clients.
func byPorts(near, far uint16) Side {
	switch n, f := class(near), class(far); {
	case n < f:
		return Server
	case n > f:
		return Client
	}
	return Unknown
}

func class(port uint16) int {
	switch {
	case port < wellKnown:
		return 0
	case port < Ephemeral:
		return 1
	}
	return 2
}

// Raises reports whether a finding is better than what a session rests on: firm beats what is
// not, and among equals the stronger kind of evidence counts.
func (k *Finding) Raises(now flow.Evidence, firm bool) bool {
	switch {
	case k.Side == Unknown:
		return false
	case k.Firm != firm:
		return k.Firm
	}
	return k.Evidence > now
}
