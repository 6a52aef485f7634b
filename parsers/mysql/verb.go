package mysql

import "bytes"

// verb writes the first word of a statement in upper case, after blanks and comments; ended is true if the word's end
// is there.
func verb(out, b []byte) (word []byte, ended bool) {
	for {
		b = bytes.TrimLeft(b, " \t\r\n(;")
		var end int
		switch {
		case bytes.HasPrefix(b, []byte("/*!")), bytes.HasPrefix(b, []byte("/*M!")): // executed, by servers from a version on
			b = bytes.TrimLeft(b, "/*M!0123456789")
			continue
		case bytes.HasPrefix(b, []byte("--")), bytes.HasPrefix(b, []byte("#")):
			end = bytes.IndexByte(b, '\n')
		case bytes.HasPrefix(b, []byte("/*")):
			if end = bytes.Index(b, []byte("*/")); end > 0 {
				end++
			}
		default:
			for i := 0; i < len(b); i++ {
				c := b[i] | 0x20
				if c < 'a' || c > 'z' {
					return out, len(out) > 0 || len(b) > 2
				}
				if len(out) == 16 {
					return out, true
				}
				out = append(out, b[i]&^0x20)
			}
			return out, false
		}
		if end < 0 {
			return out, false
		}
		b = b[end+1:]
	}
}

var sqlVerbs = map[string]bool{"SELECT": true, "INSERT": true, "UPDATE": true, "DELETE": true, "REPLACE": true, "BEGIN": true, "COMMIT": true,
	"ROLLBACK": true, "START": true, "SAVEPOINT": true, "RELEASE": true, "SET": true, "SHOW": true, "USE": true, "CREATE": true, "ALTER": true,
	"DROP": true, "TRUNCATE": true, "RENAME": true, "DESCRIBE": true, "DESC": true, "EXPLAIN": true, "CALL": true, "DO": true, "LOCK": true,
	"UNLOCK": true, "GRANT": true, "REVOKE": true, "FLUSH": true, "ANALYZE": true, "OPTIMIZE": true, "CHECK": true, "REPAIR": true, "KILL": true,
	"LOAD": true, "PREPARE": true, "EXECUTE": true, "DEALLOCATE": true, "WITH": true, "VALUES": true, "TABLE": true, "HANDLER": true, "XA": true,
	"PURGE": true, "CHANGE": true, "INSTALL": true, "UNINSTALL": true, "RESET": true, "BINLOG": true, "CACHE": true}
