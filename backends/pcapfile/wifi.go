package pcapfile

import "encoding/binary"

// wifi is an IEEE 802.11 frame; data frames that are neither encrypted nor
// pieces of a larger one have LLC inside.
func (c *carrier) wifi() outcome { return c.wifiPadded(false) }

// wifiPadded is wifi; padded is set where the adapter pads the header to four bytes.
func (c *carrier) wifiPadded(padded bool) outcome {
	b := c.data()
	if len(b) < 24 || b[0]&0x0f != 0x08 || b[0]&0x40 != 0 { // version 0, data, not a null one
		return noIP
	}
	if b[1]&0x44 != 0 || b[22]&0x0f != 0 { // protected, more fragments, a later fragment
		return noIP
	}
	head := 24
	if b[1]&3 == 3 { // from one access point to another
		head += 6
	}
	subframes := false
	if b[0]&0x80 != 0 { // QoS
		if len(b) < head+2 {
			return noIP
		}
		subframes = b[head]&0x80 != 0
		head += 2
		if b[1]&0x80 != 0 { // HT control
			head += 4
		}
	}
	if padded {
		head = (head + 3) &^ 3
	}
	if subframes { // the first of an A-MSDU
		head += 14
	}
	if !c.cut(head) {
		return noIP
	}
	return c.llc()
}

// radiotap is a header of fields that a bit mask announces, of which the flags
// are needed: they come second, behind a timestamp of eight bytes.
func (c *carrier) radiotap() outcome {
	b := c.data()
	if len(b) < 8 || b[0] != 0 {
		return noIP
	}
	present := binary.LittleEndian.Uint32(b[4:])
	at := 8
	for word := present; word&(1<<31) != 0; at += 4 {
		if len(b) < at+4 {
			return noIP
		}
		word = binary.LittleEndian.Uint32(b[at:])
	}
	if present&1 != 0 {
		at = (at+7)&^7 + 8
	}
	padded := present&2 != 0 && at < len(b) && b[at]&0x20 != 0
	if !c.cut(int(binary.LittleEndian.Uint16(b[2:]))) {
		return noIP
	}
	return c.wifiPadded(padded)
}

// prism is the header of Prism adapters, or AVS under the same number.
func (c *carrier) prism() outcome {
	b := c.data()
	if len(b) < 8 {
		return noIP
	}
	if binary.BigEndian.Uint32(b)&0xfffff000 == 0x80211000 {
		return c.avs()
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if n > 1<<12 {
		n = binary.BigEndian.Uint32(b[4:])
	}
	if n < 8 || n > 1<<12 || !c.cut(int(n)) {
		return noIP
	}
	return c.wifi()
}

// avs is the header of the AVS drivers.
func (c *carrier) avs() outcome {
	b := c.data()
	if len(b) < 8 {
		return noIP
	}
	n := binary.BigEndian.Uint32(b[4:])
	if n < 8 || n > 1<<12 || !c.cut(int(n)) {
		return noIP
	}
	return c.wifi()
}

// ppi is CACE's per-packet information, with the link type inside.
func (c *carrier) ppi() outcome {
	b := c.data()
	if len(b) < 8 {
		return noIP
	}
	n, link := int(binary.LittleEndian.Uint16(b[2:])), binary.LittleEndian.Uint32(b[4:])
	if n < 8 || link > 0xffff || !c.cut(n) {
		return noIP
	}
	return c.again(uint16(link))
}
