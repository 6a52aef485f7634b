package role

import (
	"maps"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// Side is which end of a session the workload is.
type Side uint8

// Sides.
const (
	Unknown Side = iota
	Client
	Server
)

// Port is one port of a protocol.
type Port struct {
	Proto uint8
	Port  uint16
}

// Tuple is a session's ends as the workload sees them.
type Tuple struct {
	Local, Remote         packet.Addr
	LocalPort, RemotePort uint16
	Proto                 uint8
}

// TupleOf is the tuple of a packet in direction dir, which is Egress or Ingress.
func TupleOf(p *packet.Packet, dir packet.Direction) Tuple {
	t := Tuple{Local: p.Src, Remote: p.Dst, LocalPort: p.SrcPort, RemotePort: p.DstPort, Proto: p.Proto}
	if dir == packet.Ingress {
		return t.Reverse()
	}
	return t
}

// Reverse is the tuple as the other end sees it.
func (t Tuple) Reverse() Tuple {
	return Tuple{Local: t.Remote, Remote: t.Local, LocalPort: t.RemotePort, RemotePort: t.LocalPort, Proto: t.Proto}
}

// Sockets is what was read of a workload's sockets. It is not changed once it is in use. Every
// method works on nil, which knows nothing.
type Sockets struct {
	// Early: they were read before the workload's packets came to be seen; a port that was bound
	// since then may have sent something unseen.
	Early bool
	// Complete: the lists below hold every socket that there was.
	Complete bool
	// Listening has the ports on which the workload serves: of TCP and SCTP those that listen, of
	// UDP those that are bound, not connected, and none that Linux gives to clients.
	Listening map[Port]bool
	// Old has the UDP ports that are bound since before the workload's packets were seen; valid
	// with Complete.
	Old map[uint16]bool
	// Live has the connections that were open when the workload's packets were first seen, with
	// the workload's side as its sockets showed it then. It may be cut short.
	Live map[Tuple]Side
	// Dynamic is the range of ports that the workload's kernel gives to clients; zero where it is
	// unknown.
	Dynamic [2]uint16
}

// Same reports whether both know the same of the ports on which the workload serves, which
// is what may change the opinion about a session that is open already.
func (s *Sockets) Same(o *Sockets) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.Complete == o.Complete && s.Dynamic == o.Dynamic && maps.Equal(s.Listening, o.Listening)
}

// Equal reports whether both know the same of everything.
func (s *Sockets) Equal(o *Sockets) bool {
	return s.Same(o) && (s == o || s.Early == o.Early && maps.Equal(s.Old, o.Old) && maps.Equal(s.Live, o.Live))
}

// Receives reports whether a socket of the workload receives the datagrams to a port, whoever sends them.
func (s *Sockets) Receives(port uint16) bool { return s.listens(packet.ProtoUDP, port) }

func (s *Sockets) listens(proto uint8, port uint16) bool {
	return s != nil && s.Listening[Port{proto, port}]
}

func (s *Sockets) live(t *Tuple) Side {
	if s == nil {
		return Unknown
	}
	return s.Live[*t]
}

// gives reports whether the workload's kernel gives the port to clients.
func (s *Sockets) gives(port uint16) bool {
	return s != nil && s.Dynamic[0] != 0 && port >= s.Dynamic[0] && port <= s.Dynamic[1]
}

// Held is what is known of a connection that an open socket of the workload shows, of which no
// packet was seen.
func (c *Context) Held(t *Tuple) Finding {
	k := c.Known(t)
	switch {
	case k.Evidence != flow.EvidencePort:
		k.Evidence = flow.EvidenceSocket
	case t.Proto == packet.ProtoUDP && !c.Sockets.listens(t.Proto, t.LocalPort):
		return Finding{Client, flow.EvidenceSocket, false} // it is connected, and serves no other peer
	}
	if k.Side == Unknown && (t.LocalPort < t.RemotePort) {
		k.Side = Server
	} else if k.Side == Unknown {
		k.Side = Client
	}
	return k
}

// boundSince reports whether it is certain that the port was bound after the workload's
// packets came to be seen.
func (s *Sockets) boundSince(proto uint8, port uint16) bool {
	return s != nil && s.Complete && !s.Early && proto == packet.ProtoUDP && !s.Old[port]
}

// Finding is what is known of the workload's side of a session.
type Finding struct {
	Side     Side
	Evidence flow.Evidence
	Firm     bool
}

// Known is what sockets, memory and ports say about a session whose beginning was not seen.
// Its side is Unknown where not even the ports differ in kind.
func (c *Context) Known(t *Tuple) Finding {
	ports := byPorts(t.LocalPort, t.RemotePort)
	before := c.Memory.side(c.Seed, t)
	if c.serves(t, ports) && before != Client {
		return Finding{Server, flow.EvidenceListener, true}
	}
	if before != Unknown {
		return Finding{before, flow.EvidenceMemory, false}
	}
	if side := c.Sockets.unserved(t); side != Unknown {
		if ports == Unknown || ports == side || side == Client && c.Sockets.gives(t.LocalPort) {
			return Finding{side, flow.EvidenceListener, false}
		}
		return Finding{side, flow.EvidencePort, false}
	}
	return Finding{ports, flow.EvidencePort, false}
}

// serves reports whether a socket of the workload shows that it is the session's server. A
// bound UDP socket both asks and answers, so its peer has to have a client's port.
func (c *Context) serves(t *Tuple, ports Side) bool {
	if !c.Sockets.listens(t.Proto, t.LocalPort) && c.Sockets.live(t) != Server {
		return false
	}
	return t.Proto != packet.ProtoUDP || ports == Server && t.RemotePort >= Ephemeral
}

// unserved is the side that follows from the fact that no socket serves on the local port.
// It is never firm: a server may close its listening socket and keep its connections.
func (s *Sockets) unserved(t *Tuple) Side {
	if side := s.live(t); side != Unknown {
		return side
	}
	// Of UDP the list leaves out the ports that Linux also gives to clients: its silence means nothing.
	if s == nil || !s.Complete || t.Proto != packet.ProtoTCP || s.listens(t.Proto, t.LocalPort) {
		return Unknown
	}
	return Client
}
