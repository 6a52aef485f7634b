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

// emitTunnel sends a tunnelled frame: without an outer checksum as it is, else in two parts.
func (q *inline) emitTunnel(f *packet.Frame) bool {
	mark := wrapMark(f)
	s, ok := shapeOf(f.Data, f.VNet, int(mark&wrapMaxNet))
	if mark == 0 || !ok || len(f.Data) > maxFrame {
		q.sendDrop.Add(1)
		return false
	}
	if !s.summed(f.Data) {
		return q.emitWhole(f, mark)
	}
	part := *f
	part.Data = q.parts[0][:len(f.Data)]
	copy(part.Data, f.Data)
	end, tail := s.split(part.Data, q.parts[1])
	part.Data = part.Data[:end]
	sent := true
	switch (end - s.data) / s.segment {
	case 0:
	case 1:
		sent = q.emitSingle(part)
	default:
		sent = q.emitWhole(&part, mark)
	}
	if tail != nil && sent {
		part.Data = tail
		sent = q.emitSingle(part)
	}
	return sent
}

// emitWhole sends a frame that is to be segmented through the program wrap.
func (q *inline) emitWhole(f *packet.Frame, mark uint32) bool {
	q.kick() // frames keep their order
	untagged := *f
	untagged.Flags &^= packet.VLANStripped // the tag is in the mark
	b := q.scratch[:vnetLen+len(f.Data)]
	compose(b, &untagged)
	if err := q.wrapped.send(b, mark); err != nil {
		q.sendDrop.Add(1)
		return false
	}
	q.sent.Add(1)
	return true
}

// emitSingle sends one segment, whose inner checksum is still partial.
func (q *inline) emitSingle(f packet.Frame) bool {
	f.Flags &^= packet.GSO
	f.VNet[1] = unix.VIRTIO_NET_HDR_GSO_NONE
	f.VNet[4], f.VNet[5] = 0, 0
	return q.emit(&f)
}
