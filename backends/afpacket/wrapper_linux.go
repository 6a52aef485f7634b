package afpacket

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/packet"
)

// wrapper is a socket that sends through the queueing layer, where the program wrap runs.
type wrapper struct {
	fd   int
	mark uint32 // of the socket
}

// open opens the socket; it receives nothing.
func (w *wrapper) open(index int) (err error) {
	if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	if err = unix.SetsockoptInt(w.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return fmt.Errorf("set PACKET_VNET_HDR: %w", err)
	}
	if err = unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer); err != nil {
		return fmt.Errorf("set send buffer: %w", err)
	}
	if err = unix.Bind(w.fd, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		return fmt.Errorf("bind to service port: %w", err)
	}
	return nil
}

// send sends a frame, preceded by its offload metadata, under a mark, which rarely changes.
func (w *wrapper) send(b []byte, mark uint32) error {
	if w.mark != mark {
		if err := unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
			return fmt.Errorf("set mark: %w", err)
		}
		w.mark = mark
	}
	if err := unix.Sendto(w.fd, b, unix.MSG_DONTWAIT, nil); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// emitTunnel sends a copy of a tunnelled frame.
func (q *transmitter) emitTunnel(f *packet.Frame) bool {
	if len(f.Data) > maxFrame {
		q.sendDrop.Add(1)
		return false
	}
	b := q.parts[0][:vnetLen+len(f.Data)]
	copy(b[vnetLen:], f.Data)
	return q.sendTunnel(b, f)
}

// sendTunnel sends a tunnelled frame, which it changes in its place, behind room for the
// offload metadata: without an outer checksum as it is, else in two parts.
func (q *transmitter) sendTunnel(b []byte, f *packet.Frame) bool {
	part := *f
	part.Data = b[vnetLen:]
	mark := wrapMark(&part)
	s, ok := shapeOf(part.Data, f.VNet, int(mark&wrapMaxNet))
	if mark == 0 || !ok {
		q.sendDrop.Add(1)
		return false
	}
	end, tail := len(part.Data), []byte(nil)
	if s.summed(part.Data) {
		end, tail = s.split(part.Data, q.parts[1])
	}
	switch part.Data = part.Data[:end]; {
	case end == s.data:
		ok = true // there is a tail alone
	case end-s.data <= s.segment:
		ok = q.emitSingle(part)
	default:
		ok = q.sendWhole(b[:vnetLen+end], &part, mark)
	}
	if part.Data = tail; ok && tail != nil {
		ok = q.emitSingle(part)
	}
	return ok
}

// sendWhole sends a frame that is to be segmented through the program wrap. Its VLAN tag is in
// the mark.
func (q *transmitter) sendWhole(b []byte, f *packet.Frame, mark uint32) bool {
	q.kick() // frames keep their order
	prepare(b, f)
	if err := q.wrapped.send(b, mark); err != nil {
		q.sendDrop.Add(1)
		return false
	}
	q.sent.Add(1)
	return true
}

// emitSingle sends one segment, whose inner checksum is still partial.
func (q *transmitter) emitSingle(f packet.Frame) bool {
	f.Flags &^= packet.GSO
	f.VNet[1] = unix.VIRTIO_NET_HDR_GSO_NONE
	f.VNet[4], f.VNet[5] = 0, 0
	return q.emit(&f)
}
