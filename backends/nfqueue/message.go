package nfqueue

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/packet"
)

// Numbers of linux/netfilter/nfnetlink_queue.h and linux/netlink.h.
const (
	nlHeader     = 16
	genHeader    = 4
	typePacket   = 3 << 8
	typeVerdict  = 3<<8 | 1
	typeConfig   = 3<<8 | 2
	typeBatch    = 3<<8 | 3
	typeError    = 2
	nlRequest    = 1
	attrHeader   = 1
	attrVerdict  = 2
	attrMark     = 3
	attrHWAddr   = 9
	attrPayload  = 10
	attrCapLen   = 13
	attrSkbInfo  = 14
	infoChecksum = 1
	infoGSO      = 2
	infoUnsure   = 4 // the checksum of a received packet was not verified yet
	hookPre      = 0
	hookForward  = 2
	verdictDrop  = 0
	verdictPass  = 1
	flagFailOpen = 1
	flagGSO      = 4

	configCommand = 1
	configParams  = 2
	configLimit   = 3
	configMask    = 4
	configFlags   = 5
	commandBind   = 1
	copyPacket    = 2

	verdictLen = nlHeader + genHeader + 12
	markLen    = 8
)

// message is one message of the kernel. Data points into it.
type message struct {
	id    uint32
	hook  uint8
	mark  uint32
	wire  uint32
	mac   [6]byte // the sender's on the link; zero where there is none
	flags packet.Flags
	data  []byte
	errno int32 // not 0: a verdict was rejected
}

// parse reads one netlink message; it returns false for irrelevant ones.
func (m *message) parse(b []byte) bool {
	*m = message{}
	if len(b) < nlHeader+genHeader {
		return false
	}
	n := binary.NativeEndian.Uint32(b)
	if n < nlHeader+genHeader || uint64(n) > uint64(len(b)) {
		return false
	}
	switch binary.NativeEndian.Uint16(b[4:]) {
	case typePacket:
		return m.attributes(b[nlHeader+genHeader : n])
	case typeError:
		m.errno = int32(binary.NativeEndian.Uint32(b[nlHeader:]))
		return m.errno != 0
	}
	return false
}

// attributes reads the attributes behind the headers of a packet message.
func (m *message) attributes(b []byte) bool {
	seen, info := false, uint32(0)
	for len(b) >= 4 {
		n, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])&0x3fff
		if n < 4 || n > len(b) {
			return false
		}
		v := b[4:n]
		switch {
		case kind == attrHeader && len(v) >= 7:
			m.id, m.hook, seen = binary.BigEndian.Uint32(v), v[6], true
		case kind == attrMark && len(v) >= 4:
			m.mark = binary.BigEndian.Uint32(v)
		case kind == attrHWAddr && len(v) >= 10 && v[0] == 0 && v[1] == 6:
			m.mac = [6]byte(v[4:10])
		case kind == attrPayload:
			m.data = v
		case kind == attrCapLen && len(v) >= 4:
			m.wire = binary.BigEndian.Uint32(v)
		case kind == attrSkbInfo && len(v) >= 4:
			info = binary.BigEndian.Uint32(v)
			if info&infoChecksum != 0 {
				m.flags |= packet.PartialChecksum
			}
			if info&infoGSO != 0 {
				m.flags |= packet.GSO
			}
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	if seen && m.hook <= hookForward && info&(infoChecksum|infoUnsure) == 0 {
		m.flags |= packet.ChecksumValid // what is sent says nothing about it
	}
	if m.wire == 0 {
		m.wire = uint32(len(m.data))
	}
	if int(m.wire) > len(m.data) {
		m.flags |= packet.Truncated
	}
	return seen
}

// verdicts builds the messages of one send.
type verdicts struct {
	buf   []byte
	queue uint16
}

func (v *verdicts) reset() { v.buf = v.buf[:0] }

// add appends the verdict on one packet, or with typeBatch on all up to id.
func (v *verdicts) add(kind uint16, id, verdict, mark uint32) {
	n := verdictLen
	if mark != 0 {
		n += markLen
	}
	at := len(v.buf)
	v.buf = v.buf[:at+n]
	b := v.buf[at:]
	binary.NativeEndian.PutUint32(b, uint32(n))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], nlRequest)
	clear(b[8:18])
	binary.BigEndian.PutUint16(b[18:], v.queue)
	binary.NativeEndian.PutUint16(b[20:], 12)
	binary.NativeEndian.PutUint16(b[22:], attrVerdict)
	binary.BigEndian.PutUint32(b[24:], verdict)
	binary.BigEndian.PutUint32(b[28:], id)
	if mark != 0 {
		binary.NativeEndian.PutUint16(b[32:], 8)
		binary.NativeEndian.PutUint16(b[34:], attrMark)
		binary.BigEndian.PutUint32(b[36:], mark)
	}
}
