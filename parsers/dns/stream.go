package dns

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/parsers"
)

// stream parses one session: each datagram is a message, a TCP stream a row of them with
// their lengths in front.
type stream struct {
	sink     parsers.Sink
	kind     flavour
	datagram bool
	bad      uint8     // messages in a row that made no sense
	first    bool      // something was told
	skip     [2]int    // bytes of an oversized message still to pass over
	text     [512]byte // scratch, so that attributes cost no allocation: answers end before 480
	answers  []byte    // into text
}

var _ parsers.Stream = (*stream)(nil)

// maxBad is how many broken messages in a row end the reading of a TCP stream.
const maxBad = 4

// Parse reads whole messages. A UDP session never ends by itself: one port may ask again and again.
func (s *stream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	if s.datagram {
		s.message(data)
		return parsers.Result{Used: len(data), State: parsers.Named}
	}
	used := 0
	for used < len(data) {
		if n := s.skip[dir]; n > 0 {
			n = min(n, len(data)-used)
			s.skip[dir] -= n
			used += n
			continue
		}
		rest := data[used:]
		if len(rest) < 2 {
			break
		}
		size := int(binary.BigEndian.Uint16(rest))
		if size+2 > len(rest) {
			if len(rest) < parsers.MaxHead/2 || size+2 <= parsers.MaxHead {
				break
			}
			// Too large to wait for: its beginning tells the question.
			s.beginning(rest[2:])
			s.skip[dir] = size + 2
			continue
		}
		if s.message(rest[2 : 2+size]); s.bad > maxBad {
			return parsers.Result{Used: len(data), State: parsers.Done}
		}
		used += 2 + size
	}
	return parsers.Result{Used: used, State: parsers.Named}
}

// Gap gives a TCP stream up: where the next length stands is lost.
func (s *stream) Gap(_ parsers.Dir, _ int) bool { return s.datagram }

func (s *stream) Close() {}

func (s *stream) message(msg []byte) {
	if len(msg) < headerLen {
		s.bad++
		s.sink.Threat(2017, "DNS message shorter than its header")
		return
	}
	switch f := s.walk(msg); f {
	case ok:
		s.bad = 0
	case loop:
		s.sink.Threat(2007, "DNS compression pointer that does not go backwards")
		s.bad++
	case longName:
		s.sink.Threat(2017, "DNS name over 255 octets")
		s.bad++
	case short:
		// RFC 2181 9: a truncated message may end in the middle of its records.
		if msg[2]&2 == 0 {
			s.sink.Threat(2017, "DNS message shorter than its records")
		}
		s.bad++
	default:
		s.bad++
	}
	s.tell(msg)
}

// beginning tells what a message that is not here to its end asks.
func (s *stream) beginning(msg []byte) {
	_ = s.walk(msg)
	s.tell(msg)
}

func (s *stream) walk(msg []byte) fault {
	s.answers = s.text[:0]
	w := newWalker(msg)
	r, f := w.next()
	for ; f == ok && r.part != atEnd; r, f = w.next() {
		if r.part == inQuestion {
			s.question(msg, r)
		} else {
			s.record(msg, r)
		}
	}
	return f
}

func (s *stream) tell(msg []byte) {
	if h := readHeader(msg); h.response() {
		if len(s.answers) > 0 {
			s.sink.Attr(parsers.Answer, s.answers)
		}
		s.sink.Attr(parsers.RCode, appendRCode(s.text[480:480], h.rcode()))
	}
}

// question tells the first question; the sink keeps the first.
func (s *stream) question(msg []byte, r record) {
	switch {
	case r.typ == typeNULL:
		s.sink.Threat(2021, "DNS NULL record asked for")
	case (r.typ == typeAXFR || r.typ == typeIXFR) && !readHeader(msg).response():
		s.sink.Threat(2019, "DNS zone transfer asked for")
	}
	if !s.first {
		s.first = true
		out := appendName(s.text[:0], msg, r.name)
		s.sink.Attr(parsers.Question, appendType(append(out, ' '), r.typ))
	}
}

func (s *stream) record(msg []byte, r record) {
	if r.typ == typeNULL {
		s.sink.Threat(2021, "DNS NULL record")
	}
	if r.part == inAnswer && len(s.answers) < 200 {
		n := len(s.answers)
		out := s.answers
		if n > 0 {
			out = append(out, ' ')
		}
		if more, found := appendAnswer(out, msg, r); found {
			s.answers = more
		} else {
			s.answers = s.answers[:n]
		}
	}
}
