package pcapfile

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/packet"
)

// EtherTypes, and one that IEEE reserves, for what is not IP.
const (
	etherIPv4     = 0x0800
	etherIPv6     = 0x86dd
	etherVLAN     = 0x8100
	etherQinQ     = 0x88a8
	etherPPPoE    = 0x8864
	etherMPLS     = 0x8847
	etherReserved = 0xffff
)

// outcome is the result of stripping a record.
type outcome uint8

const (
	noIP        outcome = iota // neither IP nor Ethernet inside
	stripped                   // buf[at:end] begins as link says
	unsupported                // an unknown link type
)

// carrier is a record being stripped: buf[at:end], with room for an Ethernet header in front,
// which is added where only an EtherType is known.
type carrier struct {
	buf     []byte
	at, end int
	link    packet.LinkType
	nested  int
}

// data returns the rest.
func (c *carrier) data() []byte { return c.buf[c.at:c.end] }

// cut removes n bytes; it returns false if there are fewer.
func (c *carrier) cut(n int) bool {
	if n < 0 || n > c.end-c.at {
		return false
	}
	c.at += n
	return true
}

// bare is link types whose header has a fixed length; next is the step that follows it.
type bare struct {
	head int
	next func(*carrier) outcome
}

// links are the link types (tcpdump.org/linktypes) with headers of fixed length.
var links = map[uint16]bare{
	1:   {0, (*carrier).ethernet},
	8:   {16, (*carrier).ip}, // SLIP
	9:   {0, (*carrier).ppp},
	11:  {0, (*carrier).llc}, // ATM, RFC 1483
	12:  {0, (*carrier).ip},  // raw, as some systems number it
	14:  {0, (*carrier).ip},
	50:  {0, (*carrier).ppp}, // in HDLC framing
	51:  {0, (*carrier).pppoe},
	100: {0, (*carrier).llc},
	101: {0, (*carrier).ip},
	104: {0, (*carrier).hdlc},
	105: {0, (*carrier).wifi},
	106: {2, (*carrier).ethernet}, // ATM LAN emulation
	122: {16, (*carrier).llc},     // IP over Fibre Channel
	166: {1, (*carrier).pppd},
	204: {1, (*carrier).ppp}, // with direction
	219: {0, (*carrier).mpls},
	226: {24, (*carrier).ip}, // Solaris IPNET
	228: {0, (*carrier).ip},
	229: {0, (*carrier).ip},
	240: {4, (*carrier).ethernet},  // netANALYZER
	241: {12, (*carrier).ethernet}, // with preamble
	282: {4, (*carrier).ethernet},  // Broadcom tag in front
}

// odd strips the link types with variable headers.
func (c *carrier) odd(link uint16) outcome {
	switch link {
	case 0, 108: // BSD loopback
		return c.family()
	case 6:
		return c.tokenRing()
	case 10:
		return c.fddi()
	case 107:
		return c.frameRelay()
	case 109:
		return c.enc()
	case 113:
		return c.cooked()
	case 117:
		return c.pflog()
	case 119:
		return c.prism()
	case 127:
		return c.radiotap()
	case 138:
		return c.fireWire()
	case 143:
		return c.docsis()
	case 163:
		return c.avs()
	case 192:
		return c.ppi()
	case 239:
		return c.nflog()
	case 242:
		return c.infiniBand()
	case 258:
		return c.pktap()
	case 274:
		return c.mpacket()
	case 276:
		return c.cooked2()
	case 281, 284: // Broadcom, DSA
		return c.switchTag(4)
	case 285: // DSA with an EtherType
		return c.switchTag(8)
	}
	return unsupported
}

// silent are known link types that carry no IP, or none that is supported: ARCnet, Bluetooth,
// USB, CAN, IEEE 802.15.4, netlink, vsock, Juniper's and the like.
var silent = map[uint16]bool{
	7: true, 129: true, 187: true, 201: true, 254: true, 255: true, 272: true, 251: true,
	186: true, 189: true, 220: true, 249: true, 266: true, 288: true, 293: true, 227: true,
	195: true, 191: true, 215: true, 230: true, 283: true, 253: true, 271: true, 231: true,
	130: true, 131: true, 132: true, 133: true, 134: true, 135: true, 136: true, 137: true,
	164: true, 167: true, 178: true, 179: true, 180: true, 181: true, 183: true, 184: true,
	194: true, 200: true, 222: true, 238: true, 139: true, 140: true, 141: true, 142: true, 165: true,
}

// strip removes the headers of a link type.
func (c *carrier) strip(link uint16) outcome {
	if link == 1 { // nearly always
		return c.ethernet()
	}
	if b, ok := links[link]; ok {
		if !c.cut(b.head) {
			return noIP
		}
		return b.next(c)
	}
	if silent[link] {
		return noIP
	}
	return c.odd(link)
}

// again strips the link type that a metadata header announced.
func (c *carrier) again(link uint16) outcome {
	if c.nested++; c.nested > 4 {
		return noIP
	}
	return c.strip(link)
}

// ethernet ends the stripping: the rest is Ethernet.
func (c *carrier) ethernet() outcome {
	c.link = packet.Ethernet
	return stripped
}

// ip ends the stripping: the rest is IP, of either version.
func (c *carrier) ip() outcome {
	if b := c.data(); len(b) == 0 || (b[0]>>4 != 4 && b[0]>>4 != 6) {
		return noIP
	}
	c.link = packet.RawIP
	return stripped
}

// ether prepends an Ethernet header of that type, without addresses. The caller has cut
// something off or is at the start of the record, so that there is room.
func (c *carrier) ether(kind uint16) outcome {
	c.at -= 14
	clear(c.buf[c.at : c.at+12])
	binary.BigEndian.PutUint16(c.buf[c.at+12:], kind)
	return c.ethernet()
}

// typed continues behind an EtherType.
func (c *carrier) typed(kind uint16) outcome {
	switch kind {
	case etherIPv4, etherIPv6:
		return c.ip()
	case etherVLAN, etherQinQ, etherPPPoE, etherMPLS:
		return c.ether(kind)
	case 0x0004: // Linux: IEEE 802.2
		return c.llc()
	}
	return noIP
}

// llc continues behind IEEE 802.2: SNAP, or the NLPID of ISO (RFC 2684).
func (c *carrier) llc() outcome {
	b := c.data()
	switch {
	case len(b) >= 8 && b[0] == 0xaa && b[1] == 0xaa && b[2] == 3:
		kind := binary.BigEndian.Uint16(b[6:])
		switch oui := [3]byte(b[3:6]); {
		case oui == [3]byte{0, 0, 0} || oui == [3]byte{0, 0, 0xf8}:
			c.cut(8)
			return c.typed(kind)
		case oui == [3]byte{0, 0x80, 0xc2} && (kind == 1 || kind == 7): // bridged
			if c.cut(10) { // with two bytes of padding
				return c.ethernet()
			}
		}
	case len(b) >= 4 && b[0] == 0xfe && b[1] == 0xfe && b[2] == 3:
		c.cut(3)
		return c.nlpid()
	case len(b) >= 3 && b[0] == 6 && b[1] == 6 && b[2] == 3:
		c.cut(3)
		return c.ip()
	}
	return noIP
}

// nlpid continues behind a network layer protocol id (RFC 2427).
func (c *carrier) nlpid() outcome {
	b := c.data()
	if len(b) == 0 {
		return noIP
	}
	switch b[0] {
	case 0xcc, 0x8e:
		c.cut(1)
		return c.ip()
	case 0x80:
		if len(b) < 6 {
			return noIP
		}
		kind := binary.BigEndian.Uint16(b[4:])
		c.cut(6)
		switch [3]byte(b[1:4]) {
		case [3]byte{0, 0, 0}:
			return c.typed(kind)
		case [3]byte{0, 0x80, 0xc2}:
			if kind == 1 || kind == 7 {
				return c.ethernet()
			}
		}
	}
	return noIP
}

// mpls passes labels to the decoder, which reads them behind Ethernet.
func (c *carrier) mpls() outcome { return c.ether(etherMPLS) }

// pppoe passes a PPPoE session header in the same form.
func (c *carrier) pppoe() outcome { return c.ether(etherPPPoE) }

// offloaded reports whether the IP length was left open for the sender's interface, as in
// captures of large segments on the sending machine.
func offloaded(f *packet.Frame) bool {
	b, wire := f.Data, int(f.Wire)
	if f.Link == packet.Ethernet {
		at := 12
		for tags := 0; tags < 4 && len(b) >= at+2; tags++ {
			if k := binary.BigEndian.Uint16(b[at:]); k != etherVLAN && k != etherQinQ {
				break
			}
			at += 4
		}
		if len(b) < at+2 {
			return false
		}
		if k := binary.BigEndian.Uint16(b[at:]); k != etherIPv4 && k != etherIPv6 {
			return false
		}
		b, wire = b[at+2:], wire-at-2
	}
	if wire <= 1500 || len(b) < 20 {
		return false
	}
	switch b[0] >> 4 {
	case 4:
		return b[2] == 0 && b[3] == 0
	case 6:
		return b[4] == 0 && b[5] == 0 && b[6] != 0
	}
	return false
}
