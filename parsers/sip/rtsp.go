package sip

import (
	"bytes"
	"net/netip"
	"strconv"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// transports reads the Transport field of a message (RFC 2326 12.39, RFC 7826 18.54): the client
// states where it receives media, the server from where it sends it.
func (s *stream) transports(dir parsers.Dir, head []byte) {
	v := header(head, "transport", "")
	for n := 0; len(v) > 0 && n < maxMedia/4; n++ {
		var one []byte
		one, v, _ = bytes.Cut(v, []byte(","))
		if bytes.Contains(one, []byte("multicast")) {
			continue
		}
		s.transport(dir, one)
	}
}

func (s *stream) transport(dir parsers.Dir, one []byte) {
	proto := uint8(17)
	var destination netip.Addr
	var ports []byte
	for i := 0; len(one) > 0; i++ {
		var part []byte
		part, one, _ = bytes.Cut(one, []byte(";"))
		key, value, _ := bytes.Cut(bytes.TrimSpace(part), []byte("="))
		switch name := string(bytes.ToLower(key)); {
		case i == 0 && bytes.HasSuffix(bytes.ToUpper(key), []byte("/TCP")):
			proto = 6
		case name == "interleaved":
			return
		case name == "client_port" && dir == parsers.ToServer, name == "server_port" && dir == parsers.ToClient,
			name == "dest_addr" && dir == parsers.ToServer, name == "src_addr" && dir == parsers.ToClient:
			ports = value
		case name == "destination" && dir == parsers.ToServer:
			destination, _ = netip.ParseAddr(string(value))
		}
	}
	names := [2]app.ID{app.RTP, app.RTCP}
	for i := 0; i < 2 && len(ports) > 0; i++ {
		var one []byte
		cut := byte('-')
		if bytes.IndexByte(ports, ':') >= 0 {
			cut = '/'
		}
		one, ports, _ = bytes.Cut(ports, []byte{cut})
		port, addr, ok := target(one)
		if !ok {
			return
		}
		if destination.IsValid() {
			addr = destination
		}
		s.sink.Expect(parsers.Expectation{At: dir.Reverse(), Proto: proto, Port: port, Addr: addr, App: names[i]})
	}
}

// target reads 4588, ":4588" or "192.0.2.1:4588", with or without quotes.
func target(b []byte) (port uint16, addr netip.Addr, ok bool) {
	b = bytes.Trim(b, `" `)
	if at := bytes.LastIndexByte(b, ':'); at >= 0 {
		if at > 0 {
			a, err := netip.ParseAddr(string(bytes.Trim(b[:at], "[]")))
			if err != nil {
				return 0, addr, false
			}
			addr = a
		}
		b = b[at+1:]
	}
	n, err := strconv.ParseUint(string(b), 10, 16)
	return uint16(n), addr, err == nil && n > 0
}
