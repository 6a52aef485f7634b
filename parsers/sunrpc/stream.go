package sunrpc

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

const (
	lastFragment = 1 << 31
	// maxRecord is the longest record that is read; a port mapper's are shorter.
	maxRecord = 2048
	maxCalls  = 16 // without a reply
	maxOdd    = 3
)

// stream is one session.
type stream struct {
	meta  parsers.Meta
	sink  parsers.Sink
	calls [maxCalls]lookup // a ring
	next  int
	named bool    // the program was reported
	known [2]bool // that side's first record was judged
	seen  bool    // a message was right
	skip  [2]int  // bytes of a record that is not read
	lost  [2]bool // where that side's records begin is unknown
	odd   uint8
}

// lookup is a call that asks a port mapper where a service is.
type lookup struct {
	xid   uint32
	used  bool
	proto uint8
	text  bool // the answer is a universal address
}

// Parse implements parsers.Stream.
func (s *stream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	if s.meta.Datagram() {
		return s.datagram(dir, data)
	}
	if !s.known[dir] {
		switch (parser{}).Probe(&s.meta, dir, data[:min(len(data), parsers.MaxHead)]) {
		case parsers.No:
			return parsers.Result{State: parsers.Rejected}
		case parsers.More:
			return parsers.Result{State: parsers.Named}
		}
		s.known[dir] = true
	}
	used := 0
	for used < len(data) {
		b := data[used:]
		if s.lost[dir] {
			return parsers.Result{Used: len(data), State: parsers.Named}
		}
		if n := min(s.skip[dir], len(b)); n > 0 {
			s.skip[dir] -= n
			used += n
			continue
		}
		if len(b) < 4 {
			break
		}
		mark := binary.BigEndian.Uint32(b)
		n := int(mark &^ lastFragment)
		switch {
		case n > maxFragment:
			s.lost[dir] = true
			continue
		case mark&lastFragment == 0 || n > maxRecord:
			if len(b) < 4+24 {
				return parsers.Result{Used: used, State: parsers.Named}
			}
			if s.elsewhere(dir, b[4:]) {
				return parsers.Result{Used: used, State: parsers.Done}
			}
			s.skip[dir] = 4 + n
			continue
		case len(b) < 4+n:
			return parsers.Result{Used: used, State: parsers.Named}
		}
		if s.elsewhere(dir, b[4:4+n]) {
			return parsers.Result{Used: used + 4 + n, State: parsers.Done}
		}
		s.message(dir, b[4:4+n])
		used += 4 + n
	}
	return parsers.Result{Used: used, State: parsers.Named}
}

func (s *stream) datagram(dir parsers.Dir, data []byte) parsers.Result {
	if judgeHead(data, dir == parsers.ToClient) != right {
		if s.odd++; !s.seen || s.odd > maxOdd {
			return parsers.Result{State: parsers.Rejected}
		}
		return parsers.Result{Used: len(data), State: parsers.Named}
	}
	s.seen = true
	if s.elsewhere(dir, data) {
		return parsers.Result{Used: len(data), State: parsers.Done}
	}
	s.message(dir, data)
	return parsers.Result{Used: len(data), State: parsers.Named}
}

// elsewhere reports the program that a session calls first, and whether that is another one than the
// port mapper: there is nothing to follow then.
func (s *stream) elsewhere(dir parsers.Dir, b []byte) bool {
	if dir != parsers.ToServer || judgeHead(b, false) != right {
		return false
	}
	prog := binary.BigEndian.Uint32(b[12:])
	if !s.named {
		s.named = true
		s.sink.Attr(parsers.Service, program(prog, binary.BigEndian.Uint32(b[16:])))
	}
	return prog != portMapper
}

// message reads a call to the port mapper, or its reply.
func (s *stream) message(dir parsers.Dir, b []byte) {
	if judgeHead(b, dir == parsers.ToClient) != right {
		return
	}
	xid := binary.BigEndian.Uint32(b)
	if dir == parsers.ToServer {
		vers, proc := binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:])
		const getPort = 3 // in version 2, GETADDR in 3 and 4
		if args, ok := behindAuth(b[24:]); ok && proc == getPort {
			s.ask(xid, vers, args)
		}
		return
	}
	n := 20 + padded(binary.BigEndian.Uint32(b[16:]))
	if binary.BigEndian.Uint32(b[n:]) == 0 { // success
		s.answer(xid, b[n+4:])
	}
}

// behindAuth returns what is behind credential and verifier.
func behindAuth(b []byte) ([]byte, bool) {
	for range 2 {
		if len(b) < 8 {
			return nil, false
		}
		n := binary.BigEndian.Uint32(b[4:])
		if n > maxOpaque || len(b) < 8+padded(n) {
			return nil, false
		}
		b = b[8+padded(n):]
	}
	return b, true
}

// ask records a question where a service is.
func (s *stream) ask(xid, vers uint32, args []byte) {
	l := lookup{xid: xid, used: true, text: vers > 2}
	if len(args) < 16 {
		return
	}
	if !l.text {
		switch n := binary.BigEndian.Uint32(args[8:]); n {
		case 6, 17:
			l.proto = uint8(n)
		default:
			return
		}
	} else {
		netid, ok := text(args[8:])
		switch {
		case ok && strings.HasPrefix(netid, "tcp"):
			l.proto = 6
		case ok && strings.HasPrefix(netid, "udp"):
			l.proto = 17
		default:
			return
		}
	}
	s.calls[s.next%maxCalls] = l
	s.next++
}

// answer announces the service that a reply locates.
func (s *stream) answer(xid uint32, b []byte) {
	for i := range s.calls {
		l := &s.calls[i]
		if !l.used || l.xid != xid {
			continue
		}
		l.used = false
		port, ok := uint16(0), false
		if !l.text {
			if len(b) >= 4 && binary.BigEndian.Uint32(b) <= 65535 {
				port, ok = uint16(binary.BigEndian.Uint32(b)), true
			}
		} else if t, found := text(b); found {
			port, ok = s.universal(t)
		}
		if ok && port != 0 {
			s.sink.Expect(parsers.Expectation{At: parsers.ToServer, Proto: l.proto, Port: port, App: app.Undecided})
		}
		return
	}
}

// text reads a string (RFC 4506 4.11).
func text(b []byte) (string, bool) {
	if len(b) < 4 {
		return "", false
	}
	n := binary.BigEndian.Uint32(b)
	if n > 64 || len(b) < 4+int(n) {
		return "", false
	}
	return string(b[4 : 4+n]), true
}

// universal reads the port of a universal address (RFC 5665 5.2.3), which must be the server's or none.
func (s *stream) universal(t string) (uint16, bool) {
	rest, low, ok1 := cutLast(t)
	host, high, ok2 := cutLast(rest)
	if !ok1 || !ok2 {
		return 0, false
	}
	a, err := netip.ParseAddr(host)
	if err != nil || !a.IsUnspecified() && a.Unmap() != s.meta.Server.Unmap() {
		return 0, false
	}
	return uint16(high)<<8 | uint16(low), true
}

// cutLast cuts the last number of a dotted text.
func cutLast(t string) (rest string, n uint8, ok bool) {
	i := strings.LastIndexByte(t, '.')
	if i < 0 {
		return "", 0, false
	}
	v, err := strconv.ParseUint(t[i+1:], 10, 8)
	return t[:i], uint8(v), err == nil
}

// Gap implements parsers.Stream.
func (s *stream) Gap(dir parsers.Dir, n int) bool {
	switch {
	case s.meta.Datagram():
	case n > 0 && n <= s.skip[dir]:
		s.skip[dir] -= n
	default:
		s.lost[dir] = true
	}
	return true
}

// Close implements parsers.Stream.
func (*stream) Close() {}
