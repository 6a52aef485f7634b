package mysql

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"github.com/sluicenet/sluice/parsers"
)

type stream struct {
	sink      parsers.Sink
	midstream bool
	commands  bool // the log-in is over: clients send commands
	greeted   bool // the server's first packet was read
	version   byte // of the greeting
	off       [2]bool
	skip      [2]int
	read      int
	asked     int
	text      [256]byte
}

var _ parsers.Stream = (*stream)(nil)

// A session is read until its first statements are over.
const (
	enoughAsked = 8
	enoughLen   = 64 << 10
	maxLook     = 2 << 10 // the rest of a longer packet is passed over
)

func (s *stream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	used := 0
	for used < len(data) && !s.off[dir] {
		rest := data[used:]
		if s.skip[dir] > 0 {
			n := min(s.skip[dir], len(rest))
			s.skip[dir] -= n
			used += n
			continue
		}
		if len(rest) < 5 {
			break
		}
		size, seq := packet(rest)
		n := 4 + min(size, maxLook)
		if len(rest) < n {
			break
		}
		s.skip[dir] = 4 + size - n
		if dir == parsers.ToServer && !s.greeted && !s.midstream && upgrades(seq, rest[4:n]) {
			break // until the greeting, which is the server's last packet before TLS
		}
		if state := s.packet(dir, seq, rest[4:n]); state != parsers.Named {
			if state == parsers.Upgraded {
				used += n
			}
			return parsers.Result{Used: used, State: state}
		}
		used += n
		if s.read += n; s.read > enoughLen || s.asked >= enoughAsked {
			return parsers.Result{Used: used, State: parsers.Done}
		}
	}
	if s.off[dir] {
		used = len(data)
	}
	return parsers.Result{Used: used, State: parsers.Named}
}

// Gap gives the session up: packet borders are lost.
func (s *stream) Gap(parsers.Dir, int) bool { return false }

func (s *stream) Close() {}

func (s *stream) packet(dir parsers.Dir, seq byte, body []byte) parsers.State {
	if len(body) == 0 {
		return parsers.Named
	}
	switch {
	case dir == parsers.ToClient:
		return s.server(seq, body)
	case !s.commands && seq == 1:
		return s.login(body)
	case !s.commands && !s.greeted && !s.midstream:
		return parsers.Rejected // a client never sends first
	case s.midstream && seq == 0 && body[0] == 0:
		return s.compressed(body)
	case seq == 0:
		s.commands = true
		s.command(body)
	}
	return parsers.Named // an answer within the log-in, or the rest of a statement
}

func (s *stream) server(seq byte, body []byte) parsers.State {
	first := !s.greeted
	s.greeted = true
	switch {
	case body[0] == 0xff && len(body) > 3:
		s.refused(body[1:])
	case first && (body[0] == 10 || body[0] == 9) && seq == 0:
		version, _, _ := bytes.Cut(body[1:], []byte{0})
		s.sink.Attr(parsers.Software, version)
		s.version = body[0] // reported with the log-in, unless it switches to TLS
	case first && !s.midstream:
		return parsers.Rejected
	}
	return parsers.Named
}

// refused reports an error that ends a log-in: its number and text.
func (s *stream) refused(b []byte) {
	code, text := binary.LittleEndian.Uint16(b), b[2:]
	if len(text) > 6 && text[0] == '#' {
		text = text[6:]
	}
	if s.asked > 1 || s.commands && code != 1044 && code != 1045 && code != 1142 && code != 1698 {
		return // a statement's own error
	}
	out := append(strconv.AppendUint(s.text[:0], uint64(code), 10), ' ')
	s.sink.Attr(parsers.Error, append(out, text[:min(len(text), 240)]...))
}

// login reads a HandshakeResponse41, or the request for TLS.
func (s *stream) login(b []byte) parsers.State {
	if len(b) < loginFixed {
		return parsers.Named
	}
	flags := binary.LittleEndian.Uint32(b)
	if upgrades(1, b) {
		s.sink.Attr(parsers.Version, []byte("tls"))
		return parsers.Upgraded
	}
	if s.version != 0 {
		s.sink.Attr(parsers.Version, strconv.AppendUint(s.text[:0], uint64(s.version), 10))
	}
	user, rest, found := bytes.Cut(b[loginFixed:], []byte{0})
	if !found {
		return parsers.Named
	}
	s.sink.Attr(parsers.User, user)
	if rest, found = afterAuth(rest, flags); found && flags&capConnectWithDB != 0 {
		if database, _, ended := bytes.Cut(rest, []byte{0}); ended {
			s.sink.Attr(parsers.Database, database)
		}
	}
	if flags&(capCompress|capZstd) != 0 {
		s.off[parsers.ToServer] = true // if the server agrees, its packets have another frame
	}
	return parsers.Named
}

// upgrades reports whether a client's packet is the request for TLS: the beginning of a log-in.
func upgrades(seq byte, b []byte) bool {
	return seq == 1 && len(b) == loginFixed && binary.LittleEndian.Uint32(b)&capTLS != 0
}

// afterAuth passes over the answer to the scramble.
func afterAuth(b []byte, flags uint32) ([]byte, bool) {
	n := 0
	switch {
	case flags&(capAuthLenEnc|capSecure) != 0:
		if len(b) == 0 || b[0] > 250 { // a longer one has its length in three octets
			return nil, false
		}
		n = 1 + int(b[0])
	default:
		n = bytes.IndexByte(b, 0) + 1
	}
	if n > len(b) {
		return nil, false
	}
	return b[n:], true
}

// compressed reports a statement that was seen through the frame of a compressed session, and stops there.
func (s *stream) compressed(b []byte) parsers.State {
	const headers = 3 + 4 // the uncompressed length, and the packet's own header
	if len(b) > headers {
		s.command(b[headers:])
	}
	return parsers.Done
}

func (s *stream) command(b []byte) {
	s.asked++
	switch b[0] {
	case comInitDB:
		s.sink.Attr(parsers.Database, b[1:])
	case comQuery, comPrepare:
		b = b[1:]
		if len(b) > 2 && b[0] == 0 && b[1] == 1 { // no query attributes, one set
			b = b[2:]
		}
		if v, _ := verb(s.text[:0], b); len(v) > 0 {
			s.sink.Attr(parsers.Command, v)
		}
	}
}
