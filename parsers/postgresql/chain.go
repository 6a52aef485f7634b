package postgresql

import (
	"bytes"
	"encoding/binary"

	"github.com/sluicenet/sluice/parsers"
)

// maxMessage bounds the lengths believed mid-stream.
const maxMessage = 1 << 20

// chain judges a row of typed messages without the start-up before it: three that fit,
// two of which the last is the server's ready message, or one statement that begins with a known verb.
func chain(dir parsers.Dir, b []byte) parsers.Match {
	good := 0
	for {
		if len(b) < 5 {
			if len(b) > 0 && !known(dir, b[0]) || len(b) > 1 && b[1] != 0 {
				return parsers.No
			}
			return parsers.More
		}
		size := int(binary.BigEndian.Uint32(b[1:]))
		if !known(dir, b[0]) || size < 4 || size > maxMessage {
			return parsers.No
		}
		body := b[5:min(len(b), 1+size)]
		whole := len(b) >= 1+size
		fit := fits(dir, b[0], size-4, body, whole)
		if fit < parsers.More {
			return parsers.No
		}
		if fit == parsers.Likely {
			return fit
		}
		if !whole {
			return parsers.More
		}
		if good++; good == 3 || good == 2 && b[0] == 'Z' {
			return parsers.Likely
		}
		b = b[1+size:]
	}
}

func known(dir parsers.Dir, kind byte) bool {
	if dir == parsers.ToServer {
		return bytes.IndexByte([]byte("QPBDESCHXdcfFp"), kind) >= 0
	}
	return bytes.IndexByte([]byte("TDCZ123ntsISENAdcGHWRKVv"), kind) >= 0
}

// fits judges one message by the layout of its type: No, More for "it may be", Likely for a statement.
func fits(dir parsers.Dir, kind byte, size int, body []byte, whole bool) parsers.Match {
	switch {
	case kind == 'd' && replicates(dir, size, body, whole):
		return parsers.Likely
	case kind == 'd':
		return moreIf(size > 0)
	case kind == 'A':
		return notifies(size, body, whole)
	case dir == parsers.ToServer:
		return fitsClient(kind, size, body, whole)
	}
	return moreIf(fitsServer(kind, size, body, whole))
}

func moreIf(ok bool) parsers.Match {
	if ok {
		return parsers.More
	}
	return parsers.No
}

// replicates judges what keeps a replication stream alive: a primary's keep-alive and a standby's status, of
// fixed sizes, which
// end in an octet that asks for an answer or does not.
func replicates(dir parsers.Dir, size int, body []byte, whole bool) bool {
	kind, want := byte('k'), 1+8+8+1
	if dir == parsers.ToServer {
		kind, want = 'r', 1+4*8+1
	}
	return whole && size == want && body[0] == kind && body[size-1] <= 1
}

// notifies judges a NotificationResponse: a process, a channel and a payload that fill it. It comes alone,
// and seldom.
func notifies(size int, body []byte, whole bool) parsers.Match {
	if size < 4+2+1 || size > 4+64+8000+1 || len(body) > 0 && body[0] != 0 {
		return parsers.No
	}
	if !whole {
		return moreIf(len(body) < 5 || body[4] != 0)
	}
	channel, payload, found := bytes.Cut(body[4:], []byte{0})
	if !found || len(channel) == 0 || len(channel) > 63 || bytes.IndexByte(payload, 0) != len(payload)-1 {
		return parsers.No
	}
	return parsers.Likely
}

func fitsClient(kind byte, size int, body []byte, whole bool) parsers.Match {
	switch kind {
	case 'Q':
		at := bytes.IndexByte(body, 0)
		if at >= 0 && at != size-1 || size < 2 || whole && at < 0 {
			return parsers.No
		}
		if !whole {
			return parsers.More
		}
		return statement(body)
	case 'P':
		name, query, found := bytes.Cut(body, []byte{0})
		if len(name) > 63 {
			return parsers.No
		}
		query, tail, found2 := bytes.Cut(query, []byte{0})
		if !whole {
			return parsers.More
		}
		if !found || !found2 || len(tail) < 2 || len(tail) != 2+4*int(binary.BigEndian.Uint16(tail)) {
			return parsers.No
		}
		return statement(query)
	case 'S', 'H', 'X', 'c':
		return moreIf(size == 0)
	case 'f':
		return moreIf(size > 0 && (!whole || ends(body, size)))
	case 'D', 'C':
		return moreIf(size >= 2 && (len(body) == 0 || body[0] == 'S' || body[0] == 'P') && (!whole || ends(body[1:], size-1)))
	case 'E':
		return moreIf(size >= 5 && (!whole || ends(body, size-4)))
	case 'p': // a password, or what SASL and GSS exchange
		return moreIf(size > 0 && size < 1<<16)
	}
	return moreIf(size >= 8) // 'B'
}

func fitsServer(kind byte, size int, body []byte, whole bool) bool {
	switch kind {
	case 'Z':
		return size == 1 && (len(body) == 0 || body[0] == 'I' || body[0] == 'T' || body[0] == 'E')
	case '1', '2', '3', 'n', 's', 'I', 'c':
		return size == 0
	case 'G', 'H', 'W': // a format, and one for each column
		return size >= 3 && (len(body) == 0 || body[0] <= 1) && (len(body) < 3 || size == 3+2*int(binary.BigEndian.Uint16(body[1:])))
	case 'C':
		return size > 3 && size < 64 && (!whole || ends(body, size) && body[0] > ' ')
	case 'S':
		return size > 3 && size < 1024 && (!whole || body[size-1] == 0 && bytes.Count(body[:size], []byte{0}) == 2)
	case 'T', 'D':
		return fitsRow(kind, size, body)
	case 'K':
		return size >= 8 && size <= 4+256
	case 'V':
		return size >= 4
	case 'v':
		return size >= 8 && size < 4096 && (len(body) < 2 || body[0] == 0)
	case 'R':
		return size >= 4 && size < 4096 && (len(body) < 4 || binary.BigEndian.Uint32(body) < 32)
	case 't':
		return size >= 2 && (len(body) < 2 || size == 2+4*int(binary.BigEndian.Uint16(body)))
	}
	return size > 6 && (len(body) == 0 || body[0] == 'S' || body[0] == 'V') && (!whole || body[size-1] == 0) // 'E', 'N'
}

// fitsRow checks the fields of a row, or the names of its description, as far as they are here.
func fitsRow(kind byte, size int, body []byte) bool {
	if size < 2 || len(body) < 2 {
		return size >= 2
	}
	n, at := int(binary.BigEndian.Uint16(body)), 2
	if n > 1664 { // the server's limit of columns
		return false
	}
	for range n {
		if kind == 'T' {
			end := bytes.IndexByte(body[min(at, len(body)):], 0)
			if end < 0 {
				return len(body) < size
			}
			if at += end + 1 + 18; end > 63 {
				return false
			}
		} else {
			if at+4 > len(body) {
				return len(body) < size
			}
			v := int32(binary.BigEndian.Uint32(body[at:]))
			if v < -1 {
				return false
			}
			at += 4 + max(0, int(v))
		}
		if at > size {
			return false
		}
	}
	return at == size
}

// ends reports whether the first zero among size octets is the last of them.
func ends(b []byte, size int) bool { return size > 0 && bytes.IndexByte(b, 0) == size-1 }

// statement is Likely for text that begins with a known verb.
func statement(b []byte) parsers.Match {
	var up [16]byte
	if v := verb(up[:0], b); sqlVerbs[string(v)] {
		return parsers.Likely
	}
	return parsers.More
}

// verb writes the first word of a statement in upper case, after blanks and comments.
func verb(out, b []byte) []byte {
	for {
		b = bytes.TrimLeft(b, " \t\r\n(;")
		var end int
		switch {
		case bytes.HasPrefix(b, []byte("--")):
			end = bytes.IndexByte(b, '\n')
		case bytes.HasPrefix(b, []byte("/*")):
			if end = bytes.Index(b, []byte("*/")); end > 0 {
				end++
			}
		default:
			for i := 0; i < len(b) && len(out) < 16 && (b[i]|0x20 >= 'a' && b[i]|0x20 <= 'z'); i++ {
				out = append(out, b[i]&^0x20)
			}
			return out
		}
		if end < 0 {
			return out
		}
		b = b[end+1:]
	}
}

var sqlVerbs = map[string]bool{"SELECT": true, "INSERT": true, "UPDATE": true, "DELETE": true, "BEGIN": true, "COMMIT": true, "ROLLBACK": true,
	"START": true, "SAVEPOINT": true, "RELEASE": true, "SET": true, "SHOW": true, "RESET": true, "DISCARD": true, "CREATE": true, "ALTER": true, "DROP": true,
	"TRUNCATE": true, "WITH": true, "VALUES": true, "EXPLAIN": true, "ANALYZE": true, "VACUUM": true, "COPY": true, "PREPARE": true, "EXECUTE": true,
	"DEALLOCATE": true, "DECLARE": true, "FETCH": true, "CLOSE": true, "LISTEN": true, "NOTIFY": true, "UNLISTEN": true, "LOCK": true, "GRANT": true,
	"REVOKE": true, "CALL": true, "DO": true, "MERGE": true, "END": true, "ABORT": true, "TABLE": true, "COMMENT": true, "REINDEX": true, "CLUSTER": true,
	"REFRESH": true, "CHECKPOINT": true, "MOVE": true}
