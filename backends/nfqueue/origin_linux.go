package nfqueue

import (
	"net"

	"github.com/sluicenet/sluice/backends/conntrack"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/netns"
)

var _ backend.Origin = (*queue)(nil)

// Original queries the connection tracker for the original destination of a redirected
// connection. A redirect rewrites the destination before the packet is queued, and answers
// get their source back afterwards: the packet has the reply's tuple, unless the application
// has recently used its port for another destination. Then the tuple is that connection's,
// whose sidecar sees the new one from another port, and the application's socket has the
// destination. It implements backend.Origin.
//
// The entry of a first packet is in the tracker's table only when it has left the last hook.
func (q *queue) Original(f *packet.Frame, p *packet.Packet) (packet.Addr, uint16, bool) {
	// The entry of a first packet is in the tracker's table only when it has left the last hook.
	if !q.loopback || f.Dir == packet.NoDirection || p.Proto == packet.ProtoTCP && p.Flags&(packet.SYN|packet.ACK) == packet.SYN {
		return packet.Addr{}, 0, false
	}
	seen := conntrack.Tuple{Src: p.Src, Dst: p.Dst, SrcPort: p.SrcPort, DstPort: p.DstPort, Proto: p.Proto, IPv6: p.IPv6}
	if f.Dir == packet.Egress {
		seen = seen.Back()
	}
	if q.conns.get(q.space, &seen) == nil && current(&q.conns.found, &seen, p) {
		to := &q.conns.found.Tuples[0]
		q.resets.add(&seen, to.Dst, to.DstPort)
		return to.Dst, to.DstPort, true
	}
	states := uint32(openSockets)
	if p.Flags&packet.SYN != 0 {
		states = openingSockets
	}
	addr, port, ok := connectedTo(q.space.own(), seen.Dst, seen.DstPort, seen.IPv6, states)
	if !ok {
		q.n.lookupFailed.Add(1)
		return packet.Addr{}, 0, false
	}
	q.resets.add(&seen, addr, port)
	return addr, port, true
}

// current reports whether an entry with the packet's tuple belongs to the packet's
// connection: the client's port was not changed to it, and it has progressed as far as the
// packet.
func current(e *conntrack.Entry, seen *conntrack.Tuple, p *packet.Packet) bool {
	from := &e.Tuples[0]
	switch {
	case from.Src != seen.Dst || from.SrcPort != seen.DstPort:
		return false
	case p.Proto != packet.ProtoTCP:
		return true
	case p.Flags&packet.SYN != 0:
		return e.State == conntrack.SynRecv
	}
	return !e.Over()
}

// addressesOf returns the addresses inside the namespace at path; none where they cannot be
// read.
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
