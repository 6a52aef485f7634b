package pcapfile

import "encoding/binary"

// family is an address family in four bytes of either order.
func (c *carrier) family() outcome {
	b := c.data()
	if len(b) < 4 {
		return noIP
	}
	v := binary.BigEndian.Uint32(b)
	if v > 0xffff {
		v = binary.LittleEndian.Uint32(b)
	}
	c.cut(4)
	return c.ofFamily(v)
}

// ofFamily continues behind an address family; IPv6 has a different number on each system.
func (c *carrier) ofFamily(v uint32) outcome {
	switch v {
	case 2, 10, 24, 26, 28, 30:
		return c.ip()
	}
	return noIP
}

// enc is OpenBSD's encapsulation device.
func (c *carrier) enc() outcome {
	b := c.data()
	if len(b) < 12 {
		return noIP
	}
	v := binary.BigEndian.Uint32(b)
	if v > 0xffff {
		v = binary.LittleEndian.Uint32(b)
	}
	c.cut(12)
	return c.ofFamily(v)
}

// pflog is the packet filter's log of the BSDs; its length lacks the padding.
func (c *carrier) pflog() outcome {
	b := c.data()
	if len(b) < 2 || !c.cut((int(b[0])+3)&^3) {
		return noIP
	}
	return c.ofFamily(uint32(b[1]))
}

// tokenRing is IEEE 802.5, with or without source routing.
func (c *carrier) tokenRing() outcome {
	b := c.data()
	if len(b) < 16 || b[1]>>6 != 1 { // LLC frames only
		return noIP
	}
	head := 14
	if b[8]&0x80 != 0 {
		head += int(b[14] & 0x1f)
	}
	if !c.cut(head) {
		return noIP
	}
	return c.llc()
}

// fddi is FDDI; LLC frames have 01 in bits 4 and 5 of the frame control.
func (c *carrier) fddi() outcome {
	b := c.data()
	if len(b) < 13 || b[0]&0x30 != 0x10 {
		return noIP
	}
	c.cut(13)
	return c.llc()
}

// frameRelay is Q.922 addresses of two to four bytes, then RFC 2427 or Cisco's type.
func (c *carrier) frameRelay() outcome {
	b := c.data()
	n := 0
	for n < len(b) && n < 4 && b[n]&1 == 0 {
		n++
	}
	if n++; len(b) < n+2 {
		return noIP
	}
	if b[n] != 3 {
		kind := binary.BigEndian.Uint16(b[n:])
		c.cut(n + 2)
		return c.typed(kind)
	}
	if n++; b[n] == 0 { // a pad, before SNAP
		n++
	}
	c.cut(n)
	return c.nlpid()
}

// cooked is Linux's cooked capture; cooked2 its second version.
func (c *carrier) cooked() outcome {
	b := c.data()
	if len(b) < 16 {
		return noIP
	}
	kind := binary.BigEndian.Uint16(b[14:])
	c.cut(16)
	return c.typed(kind)
}

func (c *carrier) cooked2() outcome {
	b := c.data()
	if len(b) < 20 {
		return noIP
	}
	kind := binary.BigEndian.Uint16(b)
	c.cut(20)
	return c.typed(kind)
}

// fireWire is IP over IEEE 1394 as Apple captures it.
func (c *carrier) fireWire() outcome {
	b := c.data()
	if len(b) < 18 {
		return noIP
	}
	kind := binary.BigEndian.Uint16(b[16:])
	c.cut(18)
	return c.typed(kind)
}

// infiniBand is IP over InfiniBand behind its routing header.
func (c *carrier) infiniBand() outcome {
	b := c.data()
	if len(b) < 44 {
		return noIP
	}
	kind := binary.BigEndian.Uint16(b[40:])
	c.cut(44)
	return c.typed(kind)
}

// hdlc is Cisco's HDLC: address, control, EtherType.
func (c *carrier) hdlc() outcome {
	b := c.data()
	if len(b) < 4 {
		return noIP
	}
	kind := binary.BigEndian.Uint16(b[2:])
	c.cut(4)
	return c.typed(kind)
}

// ppp is PPP with or without address and control, or, where the address is
// one of Cisco's, HDLC.
func (c *carrier) ppp() outcome {
	b := c.data()
	if len(b) >= 2 && b[0] == 0xff && b[1] == 3 {
		c.cut(2)
		b = c.data()
	} else if len(b) >= 4 && (b[0] == 0x0f || b[0] == 0x8f) && b[1] == 0 {
		return c.hdlc()
	}
	return c.pppInside(b)
}

// pppd is PPP whose address was replaced by a direction; control is left.
func (c *carrier) pppd() outcome {
	b := c.data()
	if len(b) > 0 && b[0] == 3 {
		c.cut(1)
		b = c.data()
	}
	return c.pppInside(b)
}

// pppInside continues behind a PPP protocol field.
func (c *carrier) pppInside(b []byte) outcome {
	var kind uint16
	switch {
	case len(b) >= 1 && b[0]&1 == 1:
		kind = uint16(b[0])
		c.cut(1)
	case len(b) >= 2:
		kind = binary.BigEndian.Uint16(b)
		c.cut(2)
	}
	switch kind {
	case 0x0021, 0x0057:
		return c.ip()
	case 0x0281:
		return c.mpls()
	}
	return noIP
}

// docsis is a DOCSIS MAC frame of a packet PDU.
func (c *carrier) docsis() outcome {
	b := c.data()
	if len(b) < 6 || b[0]>>6 != 0 {
		return noIP
	}
	head := 6
	if b[0]&1 != 0 { // extended header
		head += int(b[1])
	}
	if !c.cut(head) {
		return noIP
	}
	return c.ethernet()
}

// nflog is netfilter's log: attributes of the byte order of whoever wrote them.
func (c *carrier) nflog() outcome {
	b := c.data()
	if len(b) < 4 || b[1] != 0 {
		return noIP
	}
	fam := uint32(b[0])
	c.cut(4)
	for b = c.data(); len(b) >= 4; b = c.data() {
		n, kind := int(binary.LittleEndian.Uint16(b)), binary.LittleEndian.Uint16(b[2:])
		if kind&0xff == 0 && kind > 0xff {
			n, kind = int(binary.BigEndian.Uint16(b)), binary.BigEndian.Uint16(b[2:])
		}
		if n < 4 {
			return noIP
		}
		if kind&0x7fff == 9 { // payload
			c.cut(4)
			c.end = min(c.end, c.at+n-4)
			return c.ofFamily(fam)
		}
		if !c.cut((n + 3) &^ 3) {
			return noIP
		}
	}
	return noIP
}

// pktap is Apple's: the length of the header, and the link type inside.
func (c *carrier) pktap() outcome {
	b := c.data()
	if len(b) < 12 {
		return noIP
	}
	n, link := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[8:])
	if n < 12 || n > 1<<16 || link > 0xffff || !c.cut(int(n)) {
		return noIP
	}
	return c.again(uint16(link))
}

// mpacket is IEEE 802.3br: a preamble of 0x55 and a delimiter, then Ethernet if it is
// an express frame.
func (c *carrier) mpacket() outcome {
	b := c.data()
	for i := 0; i < len(b) && i < 8; i++ {
		if b[i] == 0xd5 {
			c.cut(i + 1)
			return c.ethernet()
		}
		if b[i] != 0x55 {
			break
		}
	}
	return noIP
}

// switchTag takes out a switch's tag of n bytes behind the addresses.
func (c *carrier) switchTag(n int) outcome {
	b := c.data()
	if len(b) < 14+n {
		return noIP
	}
	copy(b[n:n+12], b[:12])
	c.cut(n)
	return c.ethernet()
}
