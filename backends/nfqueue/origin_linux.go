package nfqueue

import (
	"net"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/netns"
)

var _ backend.Origin = (*queue)(nil)

// Original asks the connection tracker where a redirected connection was bound for. A redirect rewrites
// the destination before the packet comes here, and answers get their source back
// afterwards: what is seen is the reply's tuple, unless the application has used its port for another
// destination lately. Then the tuple is that connection's, whose sidecar sees the new one come from another
// port, and the application's socket says it. It implements backend.Origin.
func (q *queue) Original(f *packet.Frame, p *packet.Packet) (packet.Addr, uint16, bool) {
	// The entry of a first packet is in the tracker's table only when it has left the last hook.
	if !q.loopback || f.Dir == packet.NoDirection || p.Proto == packet.ProtoTCP && p.Flags&(packet.SYN|packet.ACK) == packet.SYN {
		return packet.Addr{}, 0, false
	}
	seen := tuple{src: p.Src, dst: p.Dst, sport: p.SrcPort, dport: p.DstPort, proto: p.Proto, v6: p.IPv6}
	if f.Dir == packet.Egress {
		seen = seen.back()
	}
	if q.ask() && q.tracker.get(&q.found, &seen) == nil && current(&q.found, &seen, p) {
		to := &q.found.tuples[0]
		q.resets.note(&seen, to.dst, to.dport)
		return to.dst, to.dport, true
	}
	states := uint32(openSockets)
	if p.Flags&packet.SYN != 0 {
		states = openingSockets
	}
	addr, port, ok := connectedTo(q.space.own(), seen.dst, seen.dport, seen.v6, states)
	if !ok {
		q.lookupFailed.Add(1)
		return packet.Addr{}, 0, false
	}
	q.resets.note(&seen, addr, port)
	return addr, port, true
}

// current says whether an entry that has the tuple seen is that of the packet's connection: the client's port
// was not changed to it, and it has come as far as the packet.
func current(e *entry, seen *tuple, p *packet.Packet) bool {
	from := &e.tuples[0]
	switch {
	case from.src != seen.dst || from.sport != seen.dport:
		return false
	case p.Proto != packet.ProtoTCP:
		return true
	case p.Flags&packet.SYN != 0:
		return e.state == tcpSynRecv
	}
	return !e.over()
}

// ask opens the way to the connection tracker; false if there is none.
func (q *queue) ask() bool {
	if q.tracker != nil {
		return true
	}
	t, err := openTracker(q.space.own())
	if err != nil {
		return false
	}
	q.tracker = t
	return true
}

// addressesOf are the addresses inside the namespace at path; none where they cannot be read.
func addressesOf(path string) (out [][16]byte) {
	_ = netns.Do(path, func() error {
		list, err := net.InterfaceAddrs()
		for _, a := range list {
			if n, ok := a.(*net.IPNet); ok && len(n.IP.To16()) == net.IPv6len {
				out = append(out, [16]byte(n.IP.To16()))
			}
		}
		return err
	})
	return out
}
