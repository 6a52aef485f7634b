package mysql

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/parsers"
)

// enough is how many commands in a row are believed without what came before them.
const enough = 3

// commands judges a client's packets in mid-stream: a statement that begins with a known verb, an execution of a
// prepared one, or a row of commands whose sizes fit.
func commands(b []byte) parsers.Match {
	for good := 1; ; good++ {
		if len(b) < 5 {
			return moreIf(len(b) < 4 || b[3] == 0)
		}
		size, seq := packet(b)
		if seq != 0 || size == 0 {
			return parsers.No
		}
		if b[4] == 0 && size >= 10 {
			return compressed(b, size)
		}
		body := b[4:min(len(b), 4+size)]
		if match := command(body, size); match != parsers.More {
			return match
		}
		if len(body) < size {
			return parsers.More
		}
		if good == enough {
			return parsers.Likely
		}
		b = b[4+size:]
	}
}

// command judges one: its size, where the command gives it, or its text's verb. A statement of any other text may be
// one.
func command(body []byte, size int) parsers.Match {
	switch body[0] {
	case comQuery, comPrepare:
		if size < 2 {
			return parsers.No
		}
		return statement(body[0], body[1:], len(body) == size)
	case comExecute: // id, flags, and the number of executions, which is one
		if size < 10 {
			return parsers.No
		}
		if len(body) < 10 {
			return parsers.More
		}
		return likelyIf(body[5] < 16 && binary.LittleEndian.Uint32(body[6:]) == 1)
	case comInitDB, comFieldList, comChangeUser, comBinlogDump, comBinlogGTID, comLongData, comBulkExecute:
		return moreIf(size > 1 && size < 1<<20)
	}
	want, known := fixed[body[0]]
	return moreIf(known && size == want)
}

// fixed are the sizes of the commands that have one.
var fixed = map[byte]int{comQuit: 1, comStatistics: 1, comDebug: 1, comPing: 1, comReset: 1, comProcessInfo: 1, comStmtClose: 5, comStmtReset: 5,
	comFetch: 9, comSetOption: 3, comRefresh: 2, comKill: 5}

// statement judges a text. Clients may send attributes before it.
func statement(kind byte, text []byte, whole bool) parsers.Match {
	if kind == comQuery && len(text) > 0 && text[0] == 0 { // no query attributes, one set
		if len(text) < 2 {
			return moreUnless(whole)
		}
		if text[1] != 1 {
			return parsers.No
		}
		text = text[2:]
	}
	var up [16]byte
	v, ended := verb(up[:0], text)
	if (ended || whole) && sqlVerbs[string(v)] {
		return parsers.Likely
	}
	return parsers.More
}

func moreIf(ok bool) parsers.Match {
	if ok {
		return parsers.More
	}
	return parsers.No
}

func moreUnless(whole bool) parsers.Match { return moreIf(!whole) }

// compressed judges a statement too short to be worth compressing: its uncompressed length
// is zero, and one packet fills the frame.
func compressed(b []byte, size int) parsers.Match {
	if len(b) < 7+5 {
		return parsers.More
	}
	inner, seq := packet(b[7:])
	if b[5] != 0 || b[6] != 0 || seq != 0 || inner+4 != size || inner < 6 || b[11] != comQuery && b[11] != comPrepare {
		return parsers.No
	}
	body := b[11:min(len(b), 11+inner)]
	whole := len(body) == inner
	match := statement(body[0], body[1:], whole)
	if match == parsers.More {
		return moreUnless(whole) // the frames of a compressed session are not followed
	}
	return match
}

// resultSet judges an answer without what came before it: a count of columns in a packet of
// its own, and the first column, whose catalogue is always "def". Anything shorter is too weak.
func resultSet(b []byte) parsers.Match {
	want := [...]int{1, 0, 0, 1, -1, -1, -1, 0, 2, 3, 'd', 'e', 'f'}
	for i, c := range b[:min(len(b), len(want))] {
		if want[i] >= 0 && int(c) != want[i] || i == 4 && (c == 0 || c > 250) {
			return short(b)
		}
	}
	if len(b) < len(want) {
		return parsers.More
	}
	return parsers.Likely
}

// short delays an OK or an error until the client's next statement.
func short(b []byte) parsers.Match {
	if len(b) < 5 {
		return parsers.More
	}
	size, seq := packet(b)
	if seq != 1 || size < 7 || size >= maxGreeting || b[4] != 0 && b[4] != 0xff || len(b) > 4+size && len(b) >= 64 {
		return parsers.No
	}
	return parsers.More
}
