package ldap

import "github.com/sluicenet/sluice/parsers"

// startTLS is the name of the operation with which a client asks for TLS (RFC 4511 4.14.1).
const startTLS = "1.3.6.1.4.1.1466.20037"

// stream reports each side's first message, and follows StartTLS, which a client sends as its first.
type stream struct {
	p     parser
	meta  parsers.Meta
	sink  parsers.Sink
	seen  [2]bool
	asked bool // the client's first message asked for TLS
}

var _ parsers.Stream = (*stream)(nil)

// Parse implements parsers.Stream.
func (s *stream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	named := parsers.Result{Used: len(data), State: parsers.Named}
	if s.seen[dir] {
		if s.asked && dir == parsers.ToServer {
			named.Used = 0 // until the answer
		}
		return named
	}
	if dir == parsers.ToClient && !s.seen[parsers.ToServer] && !s.meta.Midstream {
		return parsers.Result{State: parsers.Named} // it answers a message that was not read yet
	}
	switch s.p.Probe(&s.meta, dir, data[:min(len(data), parsers.MaxHead)]) {
	case parsers.No:
		return parsers.Result{State: parsers.Rejected}
	case parsers.More:
		if len(data) < parsers.MaxHead {
			return parsers.Result{State: parsers.Named}
		}
		s.seen[dir] = true
		return named
	}
	s.seen[dir] = true
	s.p.Tell(&s.meta, dir, data, s.sink)
	size, at := length(data[1:])
	op, value, ok := operation(data[1+at:][:min(size, maxMessage)], size > maxMessage)
	switch {
	case dir == parsers.ToServer && !s.seen[parsers.ToClient]:
		s.asked = ok && op == extReq && asksTLS(value)
		if s.asked {
			named.Used = 1 + at + size
			return named
		}
	case dir == parsers.ToClient && s.asked:
		s.asked = false
		if _, code, _, whole := element(value); ok && op == extResp && whole && len(code) == 1 && code[0] == 0 {
			return parsers.Result{Used: 1 + at + size, State: parsers.Upgraded}
		}
	}
	if s.seen[0] && s.seen[1] {
		named.State = parsers.Done
	}
	return named
}

func asksTLS(value []byte) bool {
	_, oid, _, ok := element(value)
	return ok && string(oid) == startTLS
}

// Gap implements parsers.Stream: a head with a gap is not parsed.
func (s *stream) Gap(parsers.Dir, int) bool { return false }

// Close implements parsers.Stream.
func (s *stream) Close() {}
