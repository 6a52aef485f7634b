package wire

import (
	"encoding/binary"
	"net/netip"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// expectLen is the length of the body of an Expect: protocol, flags, port, application, address.
const expectLen = 22

// Flags of an Expect.
const (
	expectAddr  = 1 << iota // an address was announced
	expectIPv6              // it is of IPv6
	expectLong              // Expectation.Long
	expectFlags = expectAddr | expectIPv6 | expectLong
)

// AppendExpect appends an Expect record.
func AppendExpect(b []byte, session uint64, e *parsers.Expectation) []byte {
	b = appendHead(b, Expect, uint8(e.At), session, expectLen)
	flags := byte(0)
	var addr [16]byte
	if e.Addr.IsValid() {
		flags, addr = expectAddr, e.Addr.As16()
		if e.Addr.Is6() && !e.Addr.Is4In6() {
			flags |= expectIPv6
		}
	}
	if e.Long {
		flags |= expectLong
	}
	b = append(b, e.Proto, flags)
	b = binary.LittleEndian.AppendUint16(b, e.Port)
	b = binary.LittleEndian.AppendUint16(b, uint16(e.App))
	return append(b, addr[:]...)
}

// expectFits checks the fields of an Expect.
func expectFits(b []byte) bool {
	return (b[0] == 6 || b[0] == 17) && b[1]&^byte(expectFlags) == 0 && b[1]&(expectAddr|expectIPv6) != expectIPv6 && b[2]|b[3] != 0
}

// Expectation reads an Expect. An application that is not listed is to be identified.
func (r *Record) Expectation() parsers.Expectation {
	b := r.Body
	e := parsers.Expectation{At: parsers.Dir(r.Arg), Proto: b[0], Port: binary.LittleEndian.Uint16(b[2:]), App: app.Undecided, Long: b[1]&expectLong != 0}
	if i, ok := app.Listed(app.ID(binary.LittleEndian.Uint16(b[4:]))); ok {
		e.App = i.ID
	}
	if b[1]&expectAddr != 0 {
		e.Addr = netip.AddrFrom16([16]byte(b[6:22]))
		if b[1]&expectIPv6 == 0 {
			e.Addr = e.Addr.Unmap()
		}
	}
	return e
}
