package detect

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"

	"github.com/sluicenet/sluice/parsers"
)

// PROXY protocol (HAProxy's proxy-protocol.txt, versions 1 and 2): a header with which a
// proxy begins a connection to state the original client. The proxied protocol follows it.
const (
	proxyV1    = "PROXY "
	proxyV2    = "\r\n\r\n\x00\r\nQUIT\n"
	maxProxyV1 = 107
	proxyV2Fix = 16      // signature, version and command, family, length
	maxProxyV2 = 4 << 10 // of addresses and TLVs; larger ones are not accepted
)

// preamble reads the PROXY header at the beginning of a client's bytes: size is its length, 0
// for more, -1 where there is none. client is invalid where the header states none.
func preamble(b []byte) (client netip.AddrPort, size int) {
	switch {
	case begins(b, proxyV1):
		return preambleV1(b)
	case begins(b, proxyV2):
		return preambleV2(b)
	}
	return client, -1
}

// begins reports whether b begins with want, or is a prefix of it.
func begins(b []byte, want string) bool {
	n := min(len(b), len(want))
	return n > 0 && string(b[:n]) == want[:n]
}

// preambleV1 reads "PROXY TCP4 192.0.2.1 192.0.2.2 40000 443 CRLF", or "PROXY UNKNOWN"
// followed by anything.
func preambleV1(b []byte) (client netip.AddrPort, size int) {
	line := b[:min(len(b), maxProxyV1)]
	end := bytes.Index(line, []byte("\r\n"))
	if end < 0 {
		if len(b) >= maxProxyV1 || bytes.IndexByte(line, '\n') >= 0 {
			return client, -1
		}
		return client, 0
	}
	var word [6][]byte
	n := 0
	for rest := line[:end]; n < len(word); n++ {
		var more bool
		if word[n], rest, more = bytes.Cut(rest, []byte{' '}); !more {
			n++
			break
		}
	}
	switch family := string(word[1]); {
	case family == "UNKNOWN":
		return client, end + 2
	case family != "TCP4" && family != "TCP6" || n != len(word):
		return client, -1
	}
	addr, err := netip.ParseAddr(string(word[2]))
	port, bad := strconv.ParseUint(string(word[4]), 10, 16)
	if err != nil || bad != nil || addr.Is4() != (string(word[1]) == "TCP4") {
		return client, -1
	}
	return netip.AddrPortFrom(addr, uint16(port)), end + 2
}

// preambleV2 reads the binary form.
func preambleV2(b []byte) (client netip.AddrPort, size int) {
	if len(b) > 12 && b[12]&^1 != 0x20 {
		return client, -1
	}
	if len(b) < proxyV2Fix {
		return client, 0
	}
	n := int(binary.BigEndian.Uint16(b[14:]))
	if n > maxProxyV2 {
		return client, -1
	}
	if len(b) < proxyV2Fix+n {
		return client, 0
	}
	size = proxyV2Fix + n
	body := b[proxyV2Fix:size]
	if b[12]&0xf == 0 {
		return client, size // LOCAL: a connection of the proxy itself
	}
	switch {
	case b[13]>>4 == 1 && n >= 12:
		client = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:]))
	case b[13]>>4 == 2 && n >= 36:
		client = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)), binary.BigEndian.Uint16(body[32:]))
	}
	return client, size
}

// header is the PROXY header of a session.
type header struct {
	past   bool   // none is possible any more
	client string // as the header states it; "" for none
}

// skip skips a PROXY header at the beginning of a session: used is its length, and wait whether more bytes are
// needed to recognise one. After the header used is 0.
func (h *header) skip(dir parsers.Dir, data []byte, to *Attrs) (used int, wait bool) {
	if h.past || dir != parsers.ToServer {
		return 0, false
	}
	client, size := preamble(data)
	switch {
	case size == 0:
		return 0, true
	case size > 0:
		if h.client = ""; client.IsValid() {
			h.client = client.String()
			to.set(parsers.ProxyClient, []byte(h.client))
		}
		used = size
	}
	h.past = true
	return used, false
}

// restore removes from the attributes what a withdrawn parser reported.
func (h *header) restore(to *Attrs) {
	to.reset()
	to.set(parsers.ProxyClient, []byte(h.client))
}
