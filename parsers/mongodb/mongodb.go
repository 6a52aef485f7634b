// Package mongodb recognises MongoDB's wire protocol: OP_MSG and OP_COMPRESSED of modern
// clients, OP_QUERY, OP_REPLY and the other old operations. It reports the operation or
// command and the database, and reads no documents beyond those.
package mongodb

import (
	"bytes"
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

const (
	headerLen  = 16
	maxMessage = 48000000
	maxWhole   = 4096 // a message up to here is waited for, to find its database
	maxKey     = 64   // of a section's identifier
	// The required bits of OP_MSG that are defined: a checksum follows, more messages come. A receiver ignores the
	// upper half's.
	flagsMsg     = 1 | 2
	flagsMask    = 1<<16 - 1
	opReply      = 1
	opUpdate     = 2001
	opInsert     = 2002
	opQuery      = 2004
	opGetMore    = 2005
	opDelete     = 2006
	opKill       = 2007
	opCompressed = 2012
	opMsg        = 2013
)

type parser struct{}

var (
	_ parsers.Teller = parser{}
	_ parsers.Sided  = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.MongoDB.Name() }

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (parser) Probe(m *parsers.Meta, dir parsers.Dir, b []byte) parsers.Match {
	if m.Datagram() {
		return parsers.No
	}
	if len(b) > 3 && b[3] > maxMessage>>24 {
		return parsers.No
	}
	if len(b) < headerLen {
		return parsers.More
	}
	le := binary.LittleEndian
	size, to, op := int(le.Uint32(b)), le.Uint32(b[8:]), le.Uint32(b[12:])
	if size < headerLen+4 || size > maxMessage {
		return parsers.No
	}
	// Servers answer a request; clients answer none.
	if (op == opMsg || op == opCompressed) && (to != 0) != (dir == parsers.ToClient) || op == opReply != (dir == parsers.ToClient) && op < opCompressed {
		return parsers.No
	}
	body := b[headerLen:min(len(b), size, maxWhole)]
	whole := len(b) >= min(size, maxWhole)
	switch op {
	case opMsg:
		return message(body, size-headerLen, whole)
	case opQuery:
		return named(body, 4, 8, size-headerLen, whole)
	case opInsert:
		return named(body, 4, 0, size-headerLen, whole)
	case opUpdate, opDelete:
		return named(body, 4, 4, size-headerLen, whole)
	case opGetMore:
		return named(body, 4, 12-5, size-headerLen, whole)
	case opReply:
		return reply(body, size-headerLen)
	case opCompressed:
		return compressed(body, size-headerLen)
	case opKill:
		return likelyIf(size >= headerLen+16 && (size-headerLen)%8 == 0 && size < 1<<16)
	}
	return parsers.No
}

// Part implements parsers.Sided.
func (p parser) Part(m *parsers.Meta, head []byte) parsers.Part {
	return parsers.PartByProbe(p, m, head)
}

// Tell reports command and database.
func (parser) Tell(_ *parsers.Meta, dir parsers.Dir, b []byte, sink parsers.Sink) {
	if dir == parsers.ToClient {
		return
	}
	size := int(binary.LittleEndian.Uint32(b))
	body := b[headerLen:min(len(b), size, maxWhole)]
	switch binary.LittleEndian.Uint32(b[12:]) {
	case opMsg:
		if body[4] != 0 {
			return
		}
		if name, _, found := bytes.Cut(body[10:], []byte{0}); found {
			sink.Attr(parsers.Command, name)
		}
		if size <= maxWhole {
			sink.Attr(parsers.Database, database(body[5:]))
		}
	case opQuery:
		name, rest, _ := bytes.Cut(body[4:], []byte{0})
		db, collection, _ := bytes.Cut(name, []byte("."))
		sink.Attr(parsers.Database, db)
		if string(collection) == "$cmd" && len(rest) > 13 {
			collection, _, _ = bytes.Cut(rest[13:], []byte{0})
			sink.Attr(parsers.Command, collection)
			return
		}
		sink.Attr(parsers.Command, []byte("query"))
	case opInsert:
		sink.Attr(parsers.Command, []byte("insert"))
	case opUpdate:
		sink.Attr(parsers.Command, []byte("update"))
	case opDelete:
		sink.Attr(parsers.Command, []byte("delete"))
	}
}

func likelyIf(ok bool) parsers.Match {
	if ok {
		return parsers.Likely
	}
	return parsers.No
}

// message judges OP_MSG: flags, and a section that is a document or a row of them.
func message(b []byte, size int, whole bool) parsers.Match {
	if len(b) < 5 {
		return parsers.More
	}
	if binary.LittleEndian.Uint32(b)&flagsMask&^flagsMsg != 0 || b[4] > 1 {
		return parsers.No
	}
	if b[4] == 1 {
		return sequence(b[5:], size-5, whole)
	}
	return document(b[5:], size-5, whole)
}

// sequence judges a section of kind 1: a size, an identifier and documents.
func sequence(b []byte, size int, whole bool) parsers.Match {
	if len(b) < 4 {
		return parsers.More
	}
	if n := int(binary.LittleEndian.Uint32(b)); n < 5 || n > size {
		return parsers.No
	}
	key, rest, found := bytes.Cut(b[4:], []byte{0})
	if len(key) > maxKey || found && len(key) == 0 {
		return parsers.No
	}
	if !found {
		return moreUnless(whole)
	}
	return document(rest, size-5-len(key), whole)
}

func moreUnless(whole bool) parsers.Match {
	if whole {
		return parsers.No
	}
	return parsers.More
}

// document judges a BSON document: its size, its first element's type, and that a name is there. Names are the
// users', and may be empty.
func document(b []byte, size int, whole bool) parsers.Match {
	if len(b) < 5 {
		return moreUnless(whole)
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n < 5 || n > size || n == 5 && b[4] != 0 {
		return parsers.No
	}
	if n == 5 {
		return parsers.Likely
	}
	if t := b[4]; t == 0 || t > 0x13 && t != minKey && t != maxKeyType {
		return parsers.No
	}
	key, _, found := bytes.Cut(b[5:], []byte{0})
	if len(key) > n-5 {
		return parsers.No
	}
	if !found || !whole {
		return moreUnless(whole)
	}
	return parsers.Likely
}

// Types of BSON above those of values.
const (
	minKey     = 0xff
	maxKeyType = 0x7f
)

// named judges an old operation: skip octets, the collection's full name, then more before a document.
func named(b []byte, skip, more, size int, whole bool) parsers.Match {
	if len(b) < skip {
		return parsers.More
	}
	full, rest, found := bytes.Cut(b[skip:], []byte{0})
	if len(full) > 255 || found && bytes.IndexByte(full, '.') < 1 {
		return parsers.No
	}
	if !found {
		return moreUnless(whole)
	}
	if more == 7 { // OP_GET_MORE has no document: a count and a cursor
		return likelyIf(size == skip+len(full)+1+12)
	}
	if len(rest) < more {
		return moreUnless(whole)
	}
	return document(rest[more:], size-skip-len(full)-1-more, whole)
}

// reply judges OP_REPLY: flags, cursor, start and count.
func reply(b []byte, size int) parsers.Match {
	if len(b) < 24 {
		if size < 20 || len(b) >= size {
			return parsers.No
		}
		return parsers.More
	}
	le := binary.LittleEndian
	if le.Uint32(b)&^15 != 0 || le.Uint32(b[16:]) > 1<<20 {
		return parsers.No
	}
	if n := int(le.Uint32(b[20:])); n < 5 || n > size-20 {
		return parsers.No
	}
	return parsers.Likely
}

// compressed judges OP_COMPRESSED: the operation inside, its size, and the compressor.
func compressed(b []byte, size int) parsers.Match {
	if len(b) < 9 {
		if size < 10 {
			return parsers.No
		}
		return parsers.More
	}
	op, n := binary.LittleEndian.Uint32(b), int(binary.LittleEndian.Uint32(b[4:]))
	return likelyIf((op == opMsg || op == opReply || op >= opUpdate && op <= opKill) && n > 0 && n <= maxMessage && b[8] <= 3)
}

// database finds "$db" among the elements of a document; types whose size is not given by their
// beginning end the search.
func database(doc []byte) []byte {
	for at := 4; at < len(doc) && doc[at] != 0; {
		t := doc[at]
		key, rest, found := bytes.Cut(doc[at+1:], []byte{0})
		if !found {
			return nil
		}
		n := elementSize(t, rest)
		if n < 0 || n > len(rest) {
			return nil
		}
		if t == 2 && string(key) == "$db" {
			return rest[4 : n-1]
		}
		at += 1 + len(key) + 1 + n
	}
	return nil
}

// elementSize is how long a BSON value is, -1 if that is not simple.
func elementSize(t byte, b []byte) int {
	switch t {
	case 1, 9, 0x11, 0x12:
		return 8
	case 7:
		return 12
	case 8:
		return 1
	case 0x0a, 0x06:
		return 0
	case 0x10:
		return 4
	case 0x13:
		return 16
	}
	if len(b) < 4 {
		return -1
	}
	n := int(int32(binary.LittleEndian.Uint32(b)))
	if n < 0 || n > maxWhole {
		return -1
	}
	switch t {
	case 2:
		if n < 1 {
			return -1
		}
		return 4 + n
	case 3, 4:
		if n < 5 {
			return -1
		}
		return n
	case 5:
		return 5 + n
	}
	return -1
}
