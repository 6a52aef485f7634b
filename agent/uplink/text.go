package uplink

import (
	"strings"
	"unicode/utf8"

	"github.com/sluicenet/sluice/core/packet"
)

// address returns an address's 4 or 16 bytes.
func address(a packet.Addr, ipv6 bool) []byte {
	if ipv6 {
		return a[:]
	}
	return a[12:]
}

// valid makes bytes from the wire fit for protobuf, whose strings must be UTF-8: one hostile
// header would otherwise keep a whole report from being sent.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\ufffd")
}
