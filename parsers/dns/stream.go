package dns

import (
	"bytes"
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
	state    exchange  // of the one that is reported
	id       uint16    // its number
	asked    int       // length of its question, in text
	skip     [2]int    // bytes of an oversized message still to pass over
	text     [768]byte // the question, and scratch behind it, so that attributes cost no allocation
}

var _ parsers.Stream = (*stream)(nil)

// exchange is the progress of the transaction reported by a session's attributes: its first, or its first
// seen one. A
// socket carries many, and the answer of another would be a lie.
type exchange uint8

const (
	noExchange exchange = iota
	questioned          // its question is reported
	answered            // and its answer, or an answer whose question was not seen
)

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
			// Too large to wait for: its beginning has the question.
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

// Gap abandons a TCP stream: the position of the next length is lost.
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
	s.reportMessage(msg)
}

// beginning reports what a message that is not here to its end asks.
func (s *stream) beginning(msg []byte) {
	_ = s.walk(msg)
	s.reportMessage(msg)
}

func (s *stream) walk(msg []byte) fault {
	w := newWalker(msg)
	r, f := w.next()
	for ; f == ok && r.part != atEnd; r, f = w.next() {
		if r.part == inQuestion {
			s.question(msg, r)
		} else {
			s.record(r)
		}
	}
	return f
}

// reportMessage reports a message of the reported transaction: its question, then the answer with its number
// and question.
func (s *stream) reportMessage(msg []byte) {
	h := readHeader(msg)
	if s.state == answered || s.state == questioned && !(h.response() && s.repliesTo(msg, h)) {
		return
	}
	if s.state == noExchange {
		s.state, s.id = questioned, h.id
		s.asked = len(appendQuestion(s.text[:0], msg, h))
		s.sink.Attr(parsers.Question, s.text[:s.asked])
	}
	if !h.response() {
		return
	}
	s.state = answered
	if out := appendAnswers(s.text[s.asked:s.asked], msg); len(out) > 0 {
		s.sink.Attr(parsers.Answer, out)
	}
	s.sink.Attr(parsers.RCode, appendRCode(s.text[:0], h.rcode()))
}

// repliesTo reports whether a response is that to the reported question. RFC 6762 18.1: multicast answers have no
// number, and 6 no question either.
func (s *stream) repliesTo(msg []byte, h header) bool {
	if s.kind != multicast && h.id != s.id {
		return false
	}
	var other [maxText + 16]byte
	q := appendQuestion(other[:0], msg, h)
	if len(q) == 0 && s.kind == multicast {
		q = appendFirst(other[:0], msg)
	}
	return len(q) == 0 && s.kind != multicast || bytes.EqualFold(q, s.text[:s.asked])
}

// appendQuestion writes a message's first question: its name and type.
func appendQuestion(out, msg []byte, h header) []byte {
	if h.qd == 0 {
		return out
	}
	w := newWalker(msg)
	if r, f := w.next(); f == ok {
		out = appendName(out, msg, r.name)
		out = appendType(append(out, ' '), r.typ)
	}
	return out
}

// appendFirst writes the name and type of a message's first answer, as a question for it would be written.
func appendFirst(out, msg []byte) []byte {
	w := newWalker(msg)
	for r, f := w.next(); f == ok && r.part <= inAnswer; r, f = w.next() {
		if r.part == inAnswer {
			out = appendName(out, msg, r.name)
			return appendType(append(out, ' '), r.typ)
		}
	}
	return out
}

// appendAnswers writes a message's answers.
func appendAnswers(out, msg []byte) []byte {
	w := newWalker(msg)
	for r, f := w.next(); f == ok && r.part <= inAnswer && len(out) < 200; r, f = w.next() {
		if r.part != inAnswer {
			continue
		}
		n := len(out)
		if n > 0 {
			out = append(out, ' ')
		}
		if more, found := appendAnswer(out, msg, r); found {
			out = more
		} else {
			out = out[:n]
		}
	}
	return out
}

// question reads a question.
func (s *stream) question(msg []byte, r record) {
	switch {
	case r.typ == typeNULL:
		s.sink.Threat(2021, "DNS NULL record asked for")
	case (r.typ == typeAXFR || r.typ == typeIXFR) && !readHeader(msg).response():
		s.sink.Threat(2019, "DNS zone transfer asked for")
	}
}

func (s *stream) record(r record) {
	if r.typ == typeNULL {
		s.sink.Threat(2021, "DNS NULL record")
	}
}
