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
// afterwards: what is seen is the reply's tuple. It implements backend.Origin.
func (q *queue) Original(f *packet.Frame, p *packet.Packet) (packet.Addr, uint16, bool) {
	// The entry of a first packet is in the tracker's table only when it has left the last hook.
	if !q.loopback || f.Dir == packet.NoDirection || p.Proto == packet.ProtoTCP && p.Flags&(packet.SYN|packet.ACK) == packet.SYN {
		return packet.Addr{}, 0, false
	}
	seen := tuple{src: p.Src, dst: p.Dst, sport: p.SrcPort, dport: p.DstPort, proto: p.Proto, v6: p.IPv6}
	if f.Dir == packet.Egress {
		seen = seen.back()
	}
	if !q.ask() || q.tracker.get(&q.found, &seen) != nil {
		q.lookupFailed.Add(1)
		return packet.Addr{}, 0, false
	}
	to := &q.found.tuples[0]
	return to.dst, to.dport, true
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
