package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
)

const (
	// txData is where a slot's bytes begin, behind the header alone.
	txData = v2HdrLen - sizeofAddrLL
	// kickAt is how many frames wait before the kernel is told of them.
	kickAt = 32
	// kicks is how often a full ring is kicked before a frame is given up.
	kicks = 64
	// linear is how much of an ordinary frame the kernel copies when it takes it out of the
	// ring. What it does not copy it maps, and must copy with more ado afterwards.
	linear = 2048
)

var errSend = errors.New("frame cannot be sent")

// Send implements backend.Sender.
func (q *inline) Send(f *packet.Frame) error {
	if f.Link != packet.Ethernet || len(f.Data) < 14 || f.Dir == packet.NoDirection || f.Endpoint == 0 || f.Endpoint >= 1<<24 {
		return fmt.Errorf("send on endpoint %d: %w", f.Endpoint, errSend)
	}
	ok := q.emit(f)
	q.kick()
	if !ok {
		return fmt.Errorf("send on endpoint %d: %w: ring is full or frame too large", f.Endpoint, errSend)
	}
	return nil
}

// pass sends a frame that was received: what is small through the TX ring, many at a
// kick; what is large straight from its receive slot, where the kernel copies it once
// instead of twice.
func (q *inline) pass(f *packet.Frame) {
	if len(f.Data) <= linear || f.Flags&packet.VLANStripped != 0 {
		q.emit(f)
		return
	}
	q.kick() // frames keep their order
	off := q.rx.at(int(f.Slot))
	start := off + int(q.rings.u16(off+v2Mac))
	vnet := f.VNet
	headers(&vnet, len(f.Data))
	copy(q.rings[start-vnetLen:], vnet[:])
	own := f.Data[0:6]
	if f.Dir == packet.Egress {
		own = f.Data[6:12]
	}
	putTag(own, f.Endpoint)
	if err := unix.Sendto(q.direct, q.rings[start-vnetLen:start+len(f.Data)], unix.MSG_DONTWAIT, nil); err != nil {
		q.sendDrop.Add(1)
		return
	}
	q.sent.Add(1)
}

// emit copies a frame into a slot, under its tag.
func (q *inline) emit(f *packet.Frame) bool {
	n := len(f.Data)
	tagged := f.Flags&packet.VLANStripped != 0
	if tagged {
		n += 4
	}
	off, ok := q.sendSlot()
	if !ok || n > maxFrame {
		q.sendDrop.Add(1)
		return false
	}
	r := q.rings
	at := off + txData
	frame := r[at+vnetLen : at+vnetLen+n : at+vnetLen+n]
	vnet := f.VNet
	if tagged {
		copy(frame, f.Data[:12])
		binary.BigEndian.PutUint16(frame[12:], f.VLANProto)
		binary.BigEndian.PutUint16(frame[14:], f.VLAN)
		copy(frame[16:], f.Data[12:])
		shift(&vnet)
	} else {
		copy(frame, f.Data)
	}
	own := frame[0:6]
	if f.Dir == packet.Egress {
		own = frame[6:12]
	}
	putTag(own, f.Endpoint)
	headers(&vnet, n)
	copy(r[at:], vnet[:])
	r.setU32(off+v2Len, uint32(vnetLen+n))
	r.setStatus(off+v2Status, unix.TP_STATUS_SEND_REQUEST)
	if q.tail++; q.tail == q.tx.n {
		q.tail = 0
	}
	q.sent.Add(1)
	if q.pending++; q.pending >= kickAt {
		q.kick()
	}
	return true
}

// shift moves the offsets of the offload metadata behind a tag that is put back.
func shift(v *packet.VNet) {
	le := binary.LittleEndian
	if n := le.Uint16(v[2:]); n != 0 {
		le.PutUint16(v[2:], n+4)
	}
	if v[0]&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM != 0 {
		le.PutUint16(v[6:], le.Uint16(v[6:])+4)
	}
}

// headers sets how many bytes the kernel copies at once: all of a small frame,
// of a large one what can be headers.
func headers(v *packet.VNet, n int) {
	if v[1] != unix.VIRTIO_NET_HDR_GSO_NONE && n > linear {
		n = min(n, int(binary.LittleEndian.Uint16(v[2:])), linear)
	} else {
		n = min(n, linear)
	}
	binary.LittleEndian.PutUint16(v[2:], uint16(n))
}

// sendSlot is the next free slot; it waits for the kernel a little.
func (q *inline) sendSlot() (int, bool) {
	off := q.tx.at(q.tail)
	for range kicks {
		if q.rings.status(off) == unix.TP_STATUS_AVAILABLE {
			return off, true
		}
		q.pending = 0
		q.push()
	}
	return 0, false
}

// kick lets the kernel send what waits.
func (q *inline) kick() {
	if q.pending > 0 || q.unsent {
		q.pending = 0
		q.push()
	}
}

// push is a kick without condition. An error, be it one that the socket had from
// before, leaves frames in their slots: they go with the next kick, which Recv gives.
func (q *inline) push() {
	q.unsent = unix.Sendto(q.fd, nil, unix.MSG_DONTWAIT, nil) != nil
}

// openInline makes the queue of a service port whose engine's end is index; it runs
// in the port's namespace.
func openInline(index int, control mapped, cfg Config) (_ *inline, err error) {
	q := &inline{fd: -1, direct: -1, event: -1, index: index, clock: newMonotonic(), drained: make(chan struct{})}
	q.endpoints.Store(&map[uint32]known{})
	q.gate.release = q.free
	defer func() {
		if err != nil {
			q.free()
		}
	}()
	if q.control, err = unix.Mmap(control.FD(), 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map heartbeat: %w", err)
	}
	storeU64(q.control, 8, uint64(cfg.HeartbeatLimit))
	if q.event, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("open eventfd: %w", err)
	}
	if q.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	for _, o := range []struct {
		name       string
		opt, value int
	}{
		{"PACKET_VERSION", unix.PACKET_VERSION, unix.TPACKET_V2},
		{"PACKET_VNET_HDR", unix.PACKET_VNET_HDR, 1},
		{"PACKET_QDISC_BYPASS", unix.PACKET_QDISC_BYPASS, 1},
		{"PACKET_IGNORE_OUTGOING", unix.PACKET_IGNORE_OUTGOING, 1},
		{"PACKET_LOSS", unix.PACKET_LOSS, 1},
	} {
		if err = unix.SetsockoptInt(q.fd, unix.SOL_PACKET, o.opt, o.value); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", backend.ErrUnsupported, o.name, err)
		}
	}
	if err = q.makeRings(cfg); err != nil {
		return nil, err
	}
	if err = q.openDirect(); err != nil {
		return nil, err
	}
	if err = unix.Bind(q.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}); err != nil {
		return nil, fmt.Errorf("bind to service port: %w", err)
	}
	return q, nil
}

// ready forgets that the port was down when the sockets were bound to it: the error would
// meet the first frame.
func (q *inline) ready() {
	for _, fd := range []int{q.fd, q.direct} {
		_, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	}
}

// sendBuffer is what the kernel may hold of large frames that are being sent.
const sendBuffer = 8 << 20

// openDirect opens the socket for large frames: the one with a ring sends from there alone.
func (q *inline) openDirect() (err error) {
	if q.direct, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	for _, opt := range []int{unix.PACKET_VNET_HDR, unix.PACKET_QDISC_BYPASS} {
		if err = unix.SetsockoptInt(q.direct, unix.SOL_PACKET, opt, 1); err != nil {
			return fmt.Errorf("set up packet socket: %w", err)
		}
	}
	if err = unix.SetsockoptInt(q.direct, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer); err != nil {
		return fmt.Errorf("set send buffer: %w", err)
	}
	// Protocol 0: it receives nothing.
	if err = unix.Bind(q.direct, &unix.SockaddrLinklayer{Ifindex: q.index}); err != nil {
		return fmt.Errorf("bind to service port: %w", err)
	}
	return nil
}

// mapped is the map that openInline maps.
type mapped interface{ FD() int }

// makeRings asks for both rings and maps them, one behind the other.
func (q *inline) makeRings(cfg Config) error {
	q.rx = slotsFor(0, cfg.RxSlots)
	q.tx = slotsFor(q.rx.size(), cfg.TxSlots)
	for _, r := range []struct {
		opt int
		s   slots
	}{{unix.PACKET_RX_RING, q.rx}, {unix.PACKET_TX_RING, q.tx}} {
		req := unix.TpacketReq{Block_size: slotBlock, Block_nr: uint32(r.s.blocks()), Frame_size: slotSize, Frame_nr: uint32(r.s.n)}
		if err := unix.SetsockoptTpacketReq(q.fd, unix.SOL_PACKET, r.opt, &req); err != nil {
			return fmt.Errorf("make ring of %d slots: %w", r.s.n, err)
		}
	}
	mem, err := unix.Mmap(q.fd, 0, q.rx.size()+q.tx.size(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map rings: %w", err)
	}
	q.rings = mem
	return nil
}

// free lets go of everything; it is called by the gate.
func (q *inline) free() {
	if q.fd >= 0 {
		q.countDrops()
	}
	if q.rings != nil {
		_ = unix.Munmap(q.rings)
		q.rings = nil
	}
	if q.control != nil {
		_ = unix.Munmap(q.control)
		q.control = nil
	}
	for _, fd := range []int{q.fd, q.direct, q.event} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	q.fd, q.direct, q.event = -1, -1, -1
}
