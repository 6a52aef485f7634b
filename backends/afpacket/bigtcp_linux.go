package afpacket

import (
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/netns"
)

// acceptBig lets frames of BIG TCP through an end of the service port whole. Kernels without the
// limits segment them before.
func acceptBig(l netlink.Link) {
	_ = netlink.LinkSetGSOMaxSize(l, portGSO)
	_ = netlink.LinkSetGSOIPv4MaxSize(l, portGSO)
}

// sendsBig reports whether frames of BIG TCP may come from or to an interface.
func sendsBig(l netlink.Link) bool {
	a := l.Attrs()
	return max(a.GSOMaxSize, a.GSOIPv4MaxSize) > 1<<16
}

// ownBig reports whether an endpoint's own interface may send frames of BIG TCP.
func ownBig(ep *backend.Endpoint) (big bool) {
	_ = netns.Do(ep.NetNS, func() error { // an interface that is gone has none
		l, err := netlink.LinkByName(ep.Interface)
		big = err == nil && sendsBig(l)
		return err
	})
	return big
}

// expectBig has the worker make the ring for frames of BIG TCP. Those of an interface whose limit is
// raised later make it when the first one comes, which is lost.
func (q *inline) expectBig() {
	q.big.Store(true)
	q.Wake()
}

// passJumbo sends a frame of BIG TCP from its slot, in parts.
func (q *transmitter) passJumbo(f *packet.Frame) bool {
	r, off := q.jumbo.mem, q.jumbo.slots.at(int(f.Slot&0xffffffff))
	start := off + int(r.u16(off+v2Mac))
	return q.sendParts(r[start-vnetLen:start+len(f.Data)], f)
}

// emitJumbo sends a copy of a frame of BIG TCP, in parts.
func (q *transmitter) emitJumbo(f *packet.Frame) bool {
	if q.copied == nil {
		q.copied = make([]byte, vnetLen+maxJumbo)
	}
	if len(f.Data) > maxJumbo {
		q.sendDrop.Add(1)
		return false
	}
	b := q.copied[:vnetLen+len(f.Data)]
	copy(b[vnetLen:], f.Data)
	return q.sendParts(b, f)
}

// sendParts sends the frame in b, which it changes, in parts.
func (q *transmitter) sendParts(b []byte, f *packet.Frame) bool {
	p, ok := partsOf(b, f.VNet)
	if !ok {
		q.sendDrop.Add(1)
		return false
	}
	part := *f
	for {
		b, vnet := p.next()
		if b == nil {
			return ok
		}
		part.Data, part.VNet, part.Slot = b[vnetLen:], vnet, 0
		if vnet[1] == unix.VIRTIO_NET_HDR_GSO_NONE {
			part.Flags &^= packet.GSO
		}
		ok = q.sendPart(b, &part) && ok
	}
}

// sendPart sends one part, which has room for offload metadata in b.
func (q *transmitter) sendPart(b []byte, f *packet.Frame) bool {
	mac := q.endpoints.get(f.Endpoint).mac
	if f.Flags&packet.VLANStripped != 0 || len(f.Data) <= linear || setApart(f, &mac) {
		return q.emit(f)
	}
	prepare(b, f)
	return q.direct(b)
}
