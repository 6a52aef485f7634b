package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/packet"
)

const (
	// txData is the offset of a slot's bytes, behind the header alone.
	txData = v2HdrLen - sizeofAddrLL
	// kickAt is the number of waiting frames at which the kernel is notified.
	kickAt = 32
	// kicks is how often a full ring is kicked before a frame is dropped.
	kicks = 64
	// linear is how much of an ordinary frame the kernel copies when it takes it out of the
	// ring. It maps the rest, and must copy it later at a higher cost.
	linear = 2048
)

var errSend = errors.New("frame cannot be sent")

// transmitter sends the frames of a service port. Large ones leave from their receive slots, so that it has the
// rings. The worker uses it.
type transmitter struct {
	rings
	tx            slots
	wrapped       wrapper   // sends large frames of tunnels
	tail, pending int       // the next slot to send from, and those waiting for a kick
	unsent        bool      // the last kick failed
	scratch       []byte    // for large frames that must be assembled
	parts         [2][]byte // of a tunnel's frame: a copy, and its last segment
	copied        []byte    // for copies of frames of BIG TCP; nil before the first

	endpoints      endpointSet
	sent, sendDrop atomic.Uint64
}

// Send puts a frame into the TX ring; the next Settle or Recv makes the kernel send it, with
// all other frames in the ring. It implements backend.Sender.
func (q *transmitter) Send(f *packet.Frame) error {
	if f.Link != packet.Ethernet || len(f.Data) < 14 || f.Dir == packet.NoDirection || f.Endpoint == 0 || f.Endpoint >= 1<<24 {
		return fmt.Errorf("send on endpoint %d: %w", f.Endpoint, errSend)
	}
	if q.small.mem == nil { // released at the end of the queue; what is still held is refused then
		return fmt.Errorf("send on endpoint %d: %w", f.Endpoint, ErrClosed)
	}
	if !q.emit(f) {
		return fmt.Errorf("send on endpoint %d: %w: ring is full or frame too large", f.Endpoint, errSend)
	}
	return nil
}

// pass sends a received frame: small ones through the TX ring, many per kick; large ones
// straight from their receive slot, where the kernel copies them once instead of twice.
func (q *transmitter) pass(f *packet.Frame) {
	if f.Slot&jumbo != 0 && f.Slot&apart == 0 {
		q.passJumbo(f)
		return
	}
	if len(f.Data) <= linear || f.Slot&apart != 0 || f.Flags&packet.VLANStripped != 0 && !tunnelled(f) {
		q.emit(f)
		return
	}
	r, off := q.large.mem, q.large.slots.at(int(f.Slot))
	start := off + int(r.u16(off+v2Mac))
	if tunnelled(f) {
		q.sendTunnel(r[start-vnetLen:start+len(f.Data)], f)
		return
	}
	prepare(r[start-vnetLen:], f)
	q.direct(r[start-vnetLen : start+len(f.Data)])
}

// direct sends a large frame, preceded by its offload metadata, at once.
func (q *transmitter) direct(b []byte) bool {
	q.kick() // frames keep their order
	if err := unix.Sendto(q.large.fd, b, unix.MSG_DONTWAIT, nil); err != nil {
		q.sendDrop.Add(1)
		return false
	}
	q.sent.Add(1)
	return true
}

// emit copies a frame, under its tag, into a slot of the TX ring, or sends it at once when it
// is too large for one.
func (q *transmitter) emit(f *packet.Frame) bool {
	mac := q.endpoints.get(f.Endpoint).mac
	n, aside := len(f.Data), setApart(f, &mac)
	if tunnelled(f) {
		if !aside {
			return q.emitTunnel(f)
		}
		q.sendDrop.Add(1) // its metadata cannot describe both
		return false
	}
	if f.Flags&packet.VLANStripped != 0 {
		n += 4
	}
	if aside {
		n += apartTags
	}
	if n > maxFrame {
		return q.emitJumbo(f)
	}
	if n > linear {
		compose(q.scratch[:vnetLen+n], f, aside)
		return q.direct(q.scratch[:vnetLen+n])
	}
	off, ok := q.sendSlot()
	if !ok {
		q.sendDrop.Add(1)
		return false
	}
	r := q.small.mem
	compose(r[off+txData:off+txData+vnetLen+n], f, aside)
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

// setApart reports whether a frame's own address is not in its place, so that it needs two tags
// beside its addresses.
func setApart(f *packet.Frame, mac *[6]byte) bool {
	own := f.Data[0:6]
	if f.Dir == packet.Egress {
		own = f.Data[6:12]
	}
	return string(own) != string(mac[:])
}

// compose writes a frame in the form that the kernel sends: offload metadata, then the bytes
// under the endpoint's tag, or with two tags where it is set apart, and with their VLAN tag. b
// has exactly that length.
func compose(b []byte, f *packet.Frame, aside bool) {
	vnet, frame := f.VNet, b[vnetLen:]
	copy(frame, f.Data[:12])
	at := 12
	if aside {
		putTags(frame, f.Endpoint, f.Dir)
		at += apartTags
	}
	if f.Flags&packet.VLANStripped != 0 {
		binary.BigEndian.PutUint16(frame[at:], f.VLANProto)
		binary.BigEndian.PutUint16(frame[at+2:], f.VLAN)
		at += 4
	}
	copy(frame[at:], f.Data[12:])
	if at > 12 {
		shift(&vnet, at-12)
	}
	if !aside {
		tagOwn(frame, f)
	}
	headers(&vnet, len(frame))
	copy(b, vnet[:])
}

// prepare writes a large frame's offload metadata to the space before it, head, and its endpoint's
// number into the frame.
func prepare(head []byte, f *packet.Frame) {
	vnet := f.VNet
	headers(&vnet, len(f.Data))
	copy(head, vnet[:])
	tagOwn(f.Data, f)
}

// tagOwn writes the number of f's endpoint into that MAC address of frame which is the workload's.
func tagOwn(frame []byte, f *packet.Frame) {
	own := frame[0:6]
	if f.Dir == packet.Egress {
		own = frame[6:12]
	}
	putTag(own, f.Endpoint)
}

// headers sets how many bytes the kernel copies at once: all of a small frame, the possible
// headers of a large one.
func headers(v *packet.VNet, n int) {
	if v[1] != unix.VIRTIO_NET_HDR_GSO_NONE && n > linear {
		n = min(n, int(binary.LittleEndian.Uint16(v[2:])), linear)
	} else {
		n = min(n, linear)
	}
	binary.LittleEndian.PutUint16(v[2:], uint16(n))
}

// sendSlot returns the next free slot; it waits briefly for the kernel.
func (q *transmitter) sendSlot() (int, bool) {
	off := q.tx.at(q.tail)
	for range kicks {
		if q.small.mem.status(off+v2Status) == unix.TP_STATUS_AVAILABLE {
			return off, true
		}
		q.pending = 0
		q.push()
	}
	return 0, false
}

// kick makes the kernel send the waiting frames.
func (q *transmitter) kick() {
	if q.pending > 0 || q.unsent {
		q.pending = 0
		q.push()
	}
}

// push is an unconditional kick. After an error, even an earlier one of the socket, frames
// stay in their slots: the next kick, by Recv, sends them.
//
// The call bypasses the runtime's scheduler, which takes the processor from a goroutine that
// is in the kernel for more than some microseconds. Each of these calls is, since the
// receiver's whole network stack runs inside of it; but none blocks.
func (q *transmitter) push() {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(q.small.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	q.unsent = errno != 0
}
