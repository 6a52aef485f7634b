// Package wire encodes sessions between the engine's host and a parser plugin: consecutive records in one
// message, read without copying. It does not transport or interpret them.
//
// A record is a head of 16 bytes and a body; numbers are little-endian:
//
//	0  kind   1  arg   2-3  zero   4-7  length of the body   8-15  session
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
)

// Format is the version of the records.
const Format = 1

// Limits of a message and of data in flight.
const (
	MaxMessage = 256 << 10 // bytes of records in one message
	MaxBody    = 64 << 10  // bytes of one record's body
	Window     = 4 << 20   // bytes in flight in each direction of a stream
	MaxValue   = 256       // bytes of an attribute's value or a threat's text
	Buffer     = 128 << 10 // bytes that a side reads and writes at once
)

// Head is the length of a record's head.
const Head = 16

// Kind is the kind of a record.
type Kind uint8

// Kinds of records. Those to State go to the plugin, the others come from it.
const (
	NoKind Kind = iota
	Open        // a session begins; body: Meta
	Data        // bytes of a direction (arg); body: bytes, whole
	Part        // as Data, with the rest in further records
	Gap         // missing bytes of a direction; body: int64
	End         // no more data follows; requests the final answer
	Close       // no answer is needed any more
	State       // progress of identification
	Attr        // an attribute (arg); body: value
	Threat      // a threat; body: number and text
	Expect      // an announced connection at a side (arg); see AppendExpect
	numKinds
)

// String returns the kind's name.
func (k Kind) String() string {
	if k < numKinds {
		return [numKinds]string{"", "open", "data", "part", "gap", "end", "close", "state", "attr", "threat", "expect"}[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Sizes of fixed-size bodies.
const (
	metaLen  = 38
	gapLen   = 8
	stateLen = 14 + 2*detect.MaxLeft
)

// Record is one record. Body is borrowed from the message.
type Record struct {
	Kind    Kind
	Arg     uint8
	Session uint64
	Body    []byte
}

// ErrMalformed is wrapped by every error of reading.
var ErrMalformed = errors.New("malformed record")

// Next reads the record at the beginning of b and returns the rest. Its body has the length that its kind
// requires.
func Next(b []byte) (r Record, rest []byte, err error) {
	if len(b) < Head {
		return r, nil, fmt.Errorf("%w: %d bytes of a head of %d", ErrMalformed, len(b), Head)
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if n > MaxBody || int(n) > len(b)-Head {
		return r, nil, fmt.Errorf("%w: a body of %d bytes in %d", ErrMalformed, n, len(b)-Head)
	}
	end := Head + int(n)
	r = Record{Kind: Kind(b[0]), Arg: b[1], Session: binary.LittleEndian.Uint64(b[8:]), Body: b[Head:end:end]}
	if !r.fits() {
		return r, nil, fmt.Errorf("%w: %v with %d bytes and argument %d", ErrMalformed, r.Kind, n, r.Arg)
	}
	return r, b[end:], nil
}

// fits checks the body and the argument against the kind.
func (r *Record) fits() bool {
	n := len(r.Body)
	switch r.Kind {
	case Open:
		return n == metaLen
	case Data, Part:
		return n > 0 && r.Arg < 2
	case Gap:
		return n == gapLen && r.Arg < 2
	case End, Close:
		return n == 0
	case State:
		return n == stateLen && stateFits(r.Body)
	case Attr:
		return n > 0 && n <= MaxValue && parsers.Attr(r.Arg).String() != ""
	case Expect:
		return n == expectLen && r.Arg < 2 && expectFits(r.Body)
	case Threat:
		return n >= 2 && n <= 2+MaxValue
	}
	return false
}

// stateFits checks the fields of a State.
func stateFits(b []byte) bool {
	return b[0] <= uint8(detect.Decided) && b[1] <= 1 && b[2] <= uint8(parsers.Certain) && b[3]&3 <= uint8(detect.Exchanged) && b[3] < 32 &&
		b[12] <= 1 && b[13] <= detect.MaxLeft
}

// Append appends a record to b. Bodies longer than MaxBody are a bug of the caller and truncated.
func Append(b []byte, k Kind, arg uint8, session uint64, body []byte) []byte {
	body = body[:min(len(body), MaxBody)]
	b = appendHead(b, k, arg, session, len(body))
	return append(b, body...)
}

func appendHead(b []byte, k Kind, arg uint8, session uint64, n int) []byte {
	b = append(b, byte(k), arg, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	return binary.LittleEndian.AppendUint64(b, session)
}

// SetSession sets the session of the record at the beginning of b and returns the rest; nil at the end.
func SetSession(b []byte, session uint64) []byte {
	if len(b) < Head {
		return nil
	}
	binary.LittleEndian.PutUint64(b[8:], session)
	n := Head + int(binary.LittleEndian.Uint32(b[4:]))
	return b[min(n, len(b)):]
}

// AppendOpen appends an Open record.
func AppendOpen(b []byte, session uint64, m *parsers.Meta) []byte {
	b = appendHead(b, Open, 0, session, metaLen)
	flags := byte(0)
	if m.Midstream {
		flags |= 1
	}
	if m.Client.Is6() && !m.Client.Is4In6() {
		flags |= 2
	}
	b = append(b, m.Proto, flags)
	b = binary.LittleEndian.AppendUint16(b, m.ClientPort)
	b = binary.LittleEndian.AppendUint16(b, m.ServerPort)
	c, s := m.Client.As16(), m.Server.As16()
	return append(append(b, c[:]...), s[:]...)
}

// Meta reads the body of an Open.
func (r *Record) Meta() parsers.Meta {
	b := r.Body
	addr := func(b []byte) netip.Addr {
		a := netip.AddrFrom16([16]byte(b))
		if r.Body[1]&2 == 0 {
			a = a.Unmap()
		}
		return a
	}
	return parsers.Meta{Proto: b[0], Midstream: b[1]&1 != 0, ClientPort: binary.LittleEndian.Uint16(b[2:]), ServerPort: binary.LittleEndian.Uint16(b[4:]),
		Client: addr(b[6:22]), Server: addr(b[22:38])}
}

// AppendGap appends a Gap record of n bytes.
func AppendGap(b []byte, session uint64, dir parsers.Dir, n int) []byte {
	b = appendHead(b, Gap, uint8(dir), session, gapLen)
	return binary.LittleEndian.AppendUint64(b, uint64(int64(n)))
}

// Missing reads the body of a Gap.
func (r *Record) Missing() int { return int(int64(binary.LittleEndian.Uint64(r.Body))) }

// AppendState appends a State record.
func AppendState(b []byte, session uint64, n *detect.News) []byte {
	b = appendHead(b, State, 0, session, stateLen)
	b = append(b, byte(n.Outcome), bit(n.Ended), byte(n.Strength), byte(n.Side)|n.Renamed&3<<2|bit(n.Lost)<<4)
	b = binary.LittleEndian.AppendUint16(b, uint16(n.App))
	b = binary.LittleEndian.AppendUint16(b, uint16(n.Base))
	b = binary.LittleEndian.AppendUint32(b, n.Seen)
	b = append(b, bit(n.Left.Known), n.Left.N)
	for _, a := range n.Left.Apps {
		b = binary.LittleEndian.AppendUint16(b, uint16(a))
	}
	return b
}

func bit(set bool) byte {
	if set {
		return 1
	}
	return 0
}

// News reads the body of a State.
func (r *Record) News() detect.News {
	b := r.Body
	left := detect.Left{Known: b[12] != 0}
	for i := range b[13] {
		left.Add(app.ID(binary.LittleEndian.Uint16(b[14+2*int(i):])))
	}
	return detect.News{Left: left, Side: detect.Side(b[3] & 3), Renamed: b[3] >> 2 & 3, Lost: b[3]>>4 != 0, Outcome: detect.Outcome(b[0]), Ended: b[1] != 0, Strength: parsers.Match(b[2]), App: app.ID(binary.LittleEndian.Uint16(b[4:])),
		Base: app.ID(binary.LittleEndian.Uint16(b[6:])), Seen: binary.LittleEndian.Uint32(b[8:])}
}

// AppendThreat appends a Threat record; a long text is truncated.
func AppendThreat(b []byte, session uint64, id uint16, text string) []byte {
	text = text[:min(len(text), MaxValue)]
	b = appendHead(b, Threat, 0, session, 2+len(text))
	b = binary.LittleEndian.AppendUint16(b, id)
	return append(b, text...)
}

// Threat reads the body of a Threat. The text is borrowed.
func (r *Record) Threat() (id uint16, text []byte) {
	return binary.LittleEndian.Uint16(r.Body), r.Body[2:]
}

// Limits of a plugin's process beside those of its environment.
const (
	MaxFiles = 256     // descriptors open
	MaxFile  = 1 << 20 // bytes of a file that it writes
)

// The handshake before the first call, so that a plugin started by hand reports what it is instead of
// waiting.
const (
	CookieKey   = "SLUICE_PARSER_PLUGIN"
	CookieValue = "f3b7c9e2-parsers"
	SpaceKey    = "SLUICE_PLUGIN_SPACE" // bytes of address space, a limit that a plugin sets itself
	DataKey     = "SLUICE_PLUGIN_DATA"  // bytes of private memory, a limit that a plugin sets itself
	TasksKey    = "SLUICE_PLUGIN_TASKS" // processes and threads of its account, a limit that a plugin sets itself
	PluginKind  = "parser"              // its name in go-plugin's set
)
