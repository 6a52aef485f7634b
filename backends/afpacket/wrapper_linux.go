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

// emitWrapped sends a tunnelled frame, whose VLAN tag is in the mark.
func (q *inline) emitWrapped(f *packet.Frame) bool {
	mark := wrapMark(f)
	if mark == 0 || len(f.Data) > maxFrame {
		q.sendDrop.Add(1)
		return false
	}
	q.kick() // frames keep their order
	plain := *f
	plain.Flags &^= packet.VLANStripped
	b := q.scratch[:vnetLen+len(f.Data)]
	compose(b, &plain)
	if q.wrapped.send(b, mark) != nil {
		q.sendDrop.Add(1)
		return false
	}
	q.sent.Add(1)
	return true
}
