// Package conntrack asks the kernel's connection tracker of one network namespace about connections, over
// ctnetlink, and marks them. It allocates nothing per question.
package conntrack

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/packet"
)

// Numbers of linux/netlink.h, linux/netfilter/nfnetlink_conntrack.h and nf_conntrack_tcp.h.
const (
	nlHeader  = 16
	genHeader = 4
	nlRequest = 1
	typeError = 2 // NLMSG_ERROR

	typeEntry    = 1 << 8   // IPCTNL_MSG_CT_NEW: an entry, or a change of one
	typeGetEntry = 1<<8 | 1 // IPCTNL_MSG_CT_GET
	typeDone     = 3        // NLMSG_DONE
	nlAck        = 4
	nlDump       = 0x300
	nested       = 1 << 15

	ctOrig, ctReply       = 1, 2
	ctProtoInfo           = 4
	ctMark                = 8
	ctCountOrig           = 9
	ctCountReply          = 10
	ctMarkMask            = 21
	ctIP, ctProto         = 1, 2
	ctSrc4, ctDst4        = 1, 2
	ctSrc6, ctDst6        = 3, 4
	ctNumber              = 1
	ctSrcPort, ctDstPort  = 2, 3
	ctInfoTCP, ctTCPState = 1, 1
	ctPackets, ctBytes    = 1, 2

	tcpTimeWait, tcpClose = 7, 8
)

// SynRecv is the state of a connection whose SYN was answered.
const SynRecv = 2

// Tuple is one direction of a connection in the connection tracker.
type Tuple struct {
	Src, Dst         packet.Addr
	SrcPort, DstPort uint16
	Proto            uint8 // IP protocol number
	IPv6             bool
}

// Back returns the tuple of the other direction.
func (t *Tuple) Back() Tuple {
	return Tuple{Src: t.Dst, Dst: t.Src, SrcPort: t.DstPort, DstPort: t.SrcPort, Proto: t.Proto, IPv6: t.IPv6}
}

// Entry is the connection tracker's entry of a connection; index 0 is the original direction,
// 1 the reply: where addresses are translated, it is not the other's reverse.
type Entry struct {
	Tuples         [2]Tuple
	Packets, Bytes [2]uint64
	Mark           uint32
	State          uint8 // of TCP, enum tcp_conntrack of nf_conntrack_tcp.h
	Counted        bool  // Packets and Bytes are valid
}

// Over reports whether a TCP connection has ended.
func (e *Entry) Over() bool {
	return e.Tuples[0].Proto == packet.ProtoTCP && (e.State == tcpTimeWait || e.State == tcpClose)
}

// attributes calls fn for each attribute of b; it returns false if one is cut.
func attributes(b []byte, fn func(kind uint16, v []byte) bool) bool {
	for len(b) >= 4 {
		n, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])&0x3fff
		if n < 4 || n > len(b) || !fn(kind, b[4:n]) {
			return false
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return true
}

// parse reads the attributes of an entry's message; it returns false if they are invalid.
func (e *Entry) parse(b []byte) bool {
	*e = Entry{}
	var whole int
	return attributes(b, func(kind uint16, v []byte) bool {
		switch kind {
		case ctOrig, ctReply:
			whole++
			return e.Tuples[kind-ctOrig].parse(v)
		case ctMark:
			if len(v) >= 4 {
				e.Mark = binary.BigEndian.Uint32(v)
			}
		case ctCountOrig, ctCountReply:
			e.Counted = true
			return e.counters(int(kind-ctCountOrig), v)
		case ctProtoInfo:
			return attributes(v, func(kind uint16, v []byte) bool {
				return kind != ctInfoTCP || attributes(v, func(kind uint16, v []byte) bool {
					if kind == ctTCPState && len(v) >= 1 {
						e.State = v[0]
					}
					return true
				})
			})
		}
		return true
	}) && whole == 2
}

func (e *Entry) counters(dir int, b []byte) bool {
	return attributes(b, func(kind uint16, v []byte) bool {
		if len(v) < 8 {
			return true
		}
		switch kind {
		case ctPackets:
			e.Packets[dir] = binary.BigEndian.Uint64(v)
		case ctBytes:
			e.Bytes[dir] = binary.BigEndian.Uint64(v)
		}
		return true
	})
}

func (t *Tuple) parse(b []byte) bool {
	return attributes(b, func(kind uint16, v []byte) bool {
		switch kind {
		case ctIP:
			return attributes(v, t.address)
		case ctProto:
			return attributes(v, t.ports)
		}
		return true
	})
}

func (t *Tuple) address(kind uint16, v []byte) bool {
	a := &t.Src
	if kind == ctDst4 || kind == ctDst6 {
		a = &t.Dst
	}
	switch {
	case (kind == ctSrc4 || kind == ctDst4) && len(v) == 4:
		*a = packet.Addr{10: 0xff, 11: 0xff, 12: v[0], 13: v[1], 14: v[2], 15: v[3]}
	case (kind == ctSrc6 || kind == ctDst6) && len(v) == 16:
		copy(a[:], v)
		t.IPv6 = true
	}
	return true
}

func (t *Tuple) ports(kind uint16, v []byte) bool {
	switch {
	case kind == ctNumber && len(v) >= 1:
		t.Proto = v[0]
	case kind == ctSrcPort && len(v) >= 2:
		t.SrcPort = binary.BigEndian.Uint16(v)
	case kind == ctDstPort && len(v) >= 2:
		t.DstPort = binary.BigEndian.Uint16(v)
	}
	return true
}

// asking builds one message to the connection tracker.
type asking struct{ buf []byte }

// begin writes the headers.
func (a *asking) begin(kind, flags uint16, family uint8, seq uint32) {
	a.buf = append(a.buf[:0], make([]byte, nlHeader+genHeader)...)
	binary.NativeEndian.PutUint16(a.buf[4:], kind)
	binary.NativeEndian.PutUint16(a.buf[6:], nlRequest|flags)
	binary.NativeEndian.PutUint32(a.buf[8:], seq)
	a.buf[nlHeader] = family
}

// finish writes the length.
func (a *asking) finish() []byte {
	binary.NativeEndian.PutUint32(a.buf, uint32(len(a.buf)))
	return a.buf
}

// nest opens a nested attribute and returns its position, for close.
func (a *asking) nest(kind uint16) int {
	at := len(a.buf)
	a.buf = append(a.buf, 0, 0, 0, 0)
	binary.NativeEndian.PutUint16(a.buf[at+2:], kind|nested)
	return at
}

func (a *asking) close(at int) {
	binary.NativeEndian.PutUint16(a.buf[at:], uint16(len(a.buf)-at))
}

func (a *asking) putAttr(kind uint16, v ...byte) {
	at := a.nest(kind &^ nested)
	binary.NativeEndian.PutUint16(a.buf[at+2:], kind)
	a.buf = append(a.buf, v...)
	a.close(at)
	for len(a.buf)%4 != 0 {
		a.buf = append(a.buf, 0)
	}
}

func (a *asking) put16(kind, v uint16) { a.putAttr(kind, byte(v>>8), byte(v)) }

func (a *asking) put32(kind uint16, v uint32) {
	a.putAttr(kind, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// tuple writes the tuple of a connection. The kernel finds the connection by the tuple of
// either direction.
func (a *asking) tuple(t *Tuple) {
	all := a.nest(ctOrig)
	ip := a.nest(ctIP)
	if t.IPv6 {
		a.putAttr(ctSrc6, t.Src[:]...)
		a.putAttr(ctDst6, t.Dst[:]...)
	} else {
		a.putAttr(ctSrc4, t.Src[12:]...)
		a.putAttr(ctDst4, t.Dst[12:]...)
	}
	a.close(ip)
	proto := a.nest(ctProto)
	a.putAttr(ctNumber, t.Proto)
	a.put16(ctSrcPort, t.SrcPort)
	a.put16(ctDstPort, t.DstPort)
	a.close(proto)
	a.close(all)
}
