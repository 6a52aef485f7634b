// Package cassandra recognises the CQL binary protocol, versions 3 to 5 and DSE's two, by OPTIONS, STARTUP and
// their answers, and by the layout of statements in midstream. It reports the CQL version or the operation,
// and a statement's verb. The inner frames of version 5 come after what is read here.
package cassandra

import (
	"bytes"
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Operations.
const (
	opError        = 0x00
	opStartup      = 0x01
	opReady        = 0x02
	opAuthenticate = 0x03
	opOptions      = 0x05
	opSupported    = 0x06
	opQuery        = 0x07
	opResult       = 0x08
	opPrepare      = 0x09
	opExecute      = 0x0a
	opRegister     = 0x0b
	opEvent        = 0x0c
	opBatch        = 0x0d
)

const (
	maxConsistency = 0x0a
	dse            = 0x41 // version 1 of DSE's protocols, which have the frame of version 4; 0x42 is the other
	idLen          = 16   // of a prepared statement: an MD5 sum
	maxWait        = 4096 // bytes of a statement that are waited for
	maxError       = 0xffff
	headerLen      = 9
	maxMap         = 4096 // of STARTUP and SUPPORTED
)

type parser struct{}

var (
	_ parsers.Teller = parser{}
	_ parsers.Sided  = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.Cassandra.Name() }

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (parser) Probe(m *parsers.Meta, dir parsers.Dir, b []byte) parsers.Match {
	if m.Datagram() {
		return parsers.No
	}
	side := byte(0)
	if dir == parsers.ToClient {
		side = 0x80
	}
	for i, c := range b[:min(len(b), 6)] {
		if i == 0 && !version(c^side) || i == 1 && c > 0x1f || i == 4 && c > 0x10 || i == 5 && c != 0 {
			return parsers.No
		}
	}
	if len(b) < headerLen {
		return parsers.More
	}
	size := int(binary.BigEndian.Uint32(b[5:]))
	body := b[headerLen:min(len(b), headerLen+size)]
	if b[1]&1 != 0 { // compressed, which the answer to STARTUP may already be
		return likelyIf(dir == parsers.ToClient && b[4] == opReady && size <= 5)
	}
	if dir == parsers.ToClient {
		return answer(m, b[4], size, body)
	}
	return request(m, b[4], size, body)
}

func version(v byte) bool { return v >= 3 && v <= 5 || v == dse || v == dse+1 }

// Part implements parsers.Sided.
func (p parser) Part(m *parsers.Meta, head []byte) parsers.Part {
	return parsers.PartByProbe(p, m, head)
}

// Tell reports version or verb.
func (parser) Tell(_ *parsers.Meta, dir parsers.Dir, b []byte, sink parsers.Sink) {
	if dir == parsers.ToClient {
		return
	}
	size := int(binary.BigEndian.Uint32(b[5:]))
	body := b[headerLen:min(len(b), headerLen+size)]
	switch b[4] {
	case opOptions:
		sink.Attr(parsers.Command, []byte("OPTIONS"))
	case opStartup:
		sink.Attr(parsers.Command, []byte("STARTUP"))
		if at := bytes.Index(body, []byte(cqlVersion)); at >= 0 && len(body) > at+len(cqlVersion)+2 {
			v := body[at+len(cqlVersion):]
			sink.Attr(parsers.Version, v[2:min(len(v), 2+int(binary.BigEndian.Uint16(v)))])
		}
	case opQuery, opPrepare:
		sink.Attr(parsers.Command, verb(body[4:]))
	case opExecute:
		sink.Attr(parsers.Command, []byte("EXECUTE"))
	case opBatch:
		sink.Attr(parsers.Command, []byte("BATCH"))
	}
}

const cqlVersion = "CQL_VERSION"

func likelyIf(ok bool) parsers.Match {
	if ok {
		return parsers.Likely
	}
	return parsers.No
}

func request(m *parsers.Meta, op byte, size int, body []byte) parsers.Match {
	switch {
	case op == opOptions:
		return likelyIf(size == 0)
	case op == opStartup:
		return options(size, body, false)
	case !m.Midstream:
	case op == opQuery || op == opPrepare:
		return statement(op, size, body)
	case op == opExecute:
		return execute(size, body)
	case op == opBatch:
		return batch(size, body)
	case op == opRegister:
		return strings(size, body)
	}
	return parsers.No
}

func answer(m *parsers.Meta, op byte, size int, body []byte) parsers.Match {
	switch op {
	case opSupported:
		return options(size, body, true)
	case opReady:
		return likelyIf(size == 0)
	case opResult:
		switch {
		case !m.Midstream || size < 4:
			return parsers.No
		case len(body) < 4:
			return parsers.More
		}
		kind := binary.BigEndian.Uint32(body)
		return likelyIf(kind >= 1 && kind <= 5)
	case opAuthenticate:
		if size < 3 || size > 512 {
			return parsers.No
		}
		if len(body) < size {
			return parsers.More
		}
		return likelyIf(int(binary.BigEndian.Uint16(body)) == size-2)
	case opError:
		if size < 6 || size > 4096 {
			return parsers.No
		}
		if len(body) < size {
			return parsers.More
		}
		n := int(binary.BigEndian.Uint16(body[4:]))
		return likelyIf(binary.BigEndian.Uint32(body) <= maxError && n > 0 && n <= size-6)
	case opEvent: // two strings, and what depends on the first
		if !m.Midstream || size < 2+2+2 || size > 512 {
			return parsers.No
		}
		if len(body) < size {
			return parsers.More
		}
		at := skip(body, 0)
		return likelyIf(at > 2 && skip(body, at) > at+2)
	}
	return parsers.No
}

// options judges a map of strings, or of lists of them, that must hold the CQL version.
func options(size int, body []byte, lists bool) parsers.Match {
	if size < 2+2+len(cqlVersion)+2 || size > maxMap {
		return parsers.No
	}
	if len(body) < size {
		return parsers.More
	}
	if !bytes.Contains(body, []byte(cqlVersion)) {
		return parsers.No
	}
	at, pairs := 2, int(binary.BigEndian.Uint16(body))
	for range pairs {
		if at = skip(body, at); at < 0 {
			return parsers.No
		}
		values := 1
		if lists {
			if at+2 > len(body) {
				return parsers.No
			}
			values = int(binary.BigEndian.Uint16(body[at:]))
			at += 2
		}
		for range values {
			if at = skip(body, at); at < 0 {
				return parsers.No
			}
		}
	}
	return likelyIf(at == size)
}

// skip passes over a string; -1 if it does not fit.
func skip(b []byte, at int) int {
	if at+2 > len(b) {
		return -1
	}
	if at += 2 + int(binary.BigEndian.Uint16(b[at:])); at > len(b) {
		return -1
	}
	return at
}

// statement judges a long string. It is a statement where it begins with a verb of CQL, and any other text where
// what follows it has the layout of the operation's other fields.
func statement(op byte, size int, body []byte) parsers.Match {
	const least = 4 + 10
	if size < least {
		return parsers.No
	}
	if len(body) < least {
		return parsers.More
	}
	n := int(binary.BigEndian.Uint32(body))
	if n < 4 || n > size-4 {
		return parsers.No
	}
	switch {
	case verb(body[4:least]) != nil:
		return parsers.Likely
	case op == opPrepare && n != size-4 && n != size-8: // version 5 has flags
		return parsers.No
	case op == opQuery && size < 4+n+2+1:
		return parsers.No
	case 4+n > maxWait:
		return parsers.No
	case len(body) < min(4+n+3, size):
		return parsers.More
	case op == opPrepare:
		return parsers.Likely
	}
	return likelyIf(body[4+n] == 0 && body[4+n+1] <= maxConsistency)
}

// execute judges the id of a prepared statement, in version 5 with that of its result, and the consistency
// behind it.
func execute(size int, body []byte) parsers.Match {
	const least = 2 + idLen + 2 + 1
	if size < least || len(body) > 0 && body[0] != 0 || len(body) > 1 && body[1] != idLen {
		return parsers.No
	}
	if len(body) < least {
		return parsers.More
	}
	if body = body[2+idLen:]; body[0] == 0 && body[1] <= maxConsistency {
		return parsers.Likely
	}
	return likelyIf(body[0] == 0 && body[1] == idLen && size >= least+2+idLen)
}

// batch judges the kind and number of statements, and the first one's beginning.
func batch(size int, body []byte) parsers.Match {
	if size < 1+2+1+4+2 || len(body) > 0 && body[0] > 2 || len(body) > 3 && body[3] > 1 {
		return parsers.No
	}
	if len(body) < 1+2+1+4 {
		return parsers.More
	}
	if body[3] == 1 { // prepared
		return likelyIf(binary.BigEndian.Uint16(body[4:]) == idLen)
	}
	n := binary.BigEndian.Uint32(body[4:])
	return likelyIf(n >= 4 && int64(n) < int64(size))
}

// strings judges a list of strings that fills the body.
func strings(size int, body []byte) parsers.Match {
	if size < 2+2 || size > 512 {
		return parsers.No
	}
	if len(body) < size {
		return parsers.More
	}
	at := 2
	for range binary.BigEndian.Uint16(body) {
		if at = skip(body, at); at < 0 {
			return parsers.No
		}
	}
	return likelyIf(at == size)
}

// verbs end with the blank behind them.
var verbs = [...]string{"SELECT ", "INSERT ", "UPDATE ", "DELETE ", "CREATE ", "ALTER ", "DROP ", "BEGIN ", "TRUNCATE ", "USE ", "GRANT ", "LIST "}

func verb(b []byte) []byte {
	for _, v := range verbs {
		if len(b) >= len(v) && bytes.EqualFold(b[:len(v)], []byte(v)) {
			return b[:len(v)-1]
		}
	}
	return nil
}
