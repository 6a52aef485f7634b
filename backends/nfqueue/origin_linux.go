package nfqueue

import (
	"fmt"
	"net"
	"os"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/netns"
)

var _ backend.Origin = (*queue)(nil)

// lookup asks the connection tracker of one namespace.
type lookup struct{ conn *conntrack.Conn }

func openLookup(ns *os.File) (*lookup, error) {
	c, err := conntrack.Dial(&netlink.Config{NetNS: int(ns.Fd())})
	if err != nil {
		return nil, fmt.Errorf("ctnetlink: %w", err)
	}
	return &lookup{c}, nil
}

func (l *lookup) close() { _ = l.conn.Close() }

// Original asks the connection tracker where a redirected connection was bound for. A redirect rewrites
// the destination before the packet comes here, and answers get their source back
// afterwards: what is seen is the reply's tuple. It implements backend.Origin.
func (q *queue) Original(f *packet.Frame, p *packet.Packet) (packet.Addr, uint16, bool) {
	// The entry of a first packet is in the tracker's table only when it has left the last hook.
	if !q.loopback || f.Dir == packet.NoDirection || p.Proto == packet.ProtoTCP && p.Flags&(packet.SYN|packet.ACK) == packet.SYN {
		return packet.Addr{}, 0, false
	}
	if q.orig == nil {
		l, err := openLookup(q.space.file)
		if err != nil {
			q.lookupFailed.Add(1)
			return packet.Addr{}, 0, false
		}
		q.orig = l
	}
	src, dst, sport, dport := p.Src, p.Dst, p.SrcPort, p.DstPort
	if f.Dir == packet.Egress {
		src, dst, sport, dport = dst, src, dport, sport
	}
	flow, err := q.orig.conn.Get(conntrack.Flow{TupleReply: conntrack.Tuple{
		IP:    conntrack.IPTuple{SourceAddress: src.Netip(), DestinationAddress: dst.Netip()},
		Proto: conntrack.ProtoTuple{Protocol: p.Proto, SourcePort: sport, DestinationPort: dport},
	}})
	if err != nil {
		q.lookupFailed.Add(1)
		return packet.Addr{}, 0, false
	}
	to := flow.TupleOrig
	return packet.AddrFrom(to.IP.DestinationAddress), to.Proto.DestinationPort, true
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
