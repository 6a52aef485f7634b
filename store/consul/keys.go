package consul

import (
	"fmt"
	"strconv"
	"strings"
)

// Keys are part of URLs and JSON, and Consul rejects some in the form of file system paths. So special
// bytes are escaped as ~ and two hexadecimal digits, and an empty part as ~ alone.

// escape returns the Consul key of a key.
func escape(key string) string {
	parts := strings.Split(key, "/")
	for i, p := range parts {
		switch p {
		case "":
			parts[i] = "~"
		case ".", "..":
			parts[i] = strings.Repeat("~2E", len(p))
		default:
			parts[i] = escapeBytes(p)
		}
	}
	return strings.Join(parts, "/")
}

func escapeBytes(p string) string {
	var b strings.Builder
	for i := range len(p) {
		if c := p[i]; c <= ' ' || c >= '~' || c == '%' {
			fmt.Fprintf(&b, "~%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// unescape reverses escape.
func unescape(key string) string {
	if !strings.Contains(key, "~") {
		return key
	}
	var b strings.Builder
	for i := 0; i < len(key); i++ {
		if key[i] != '~' {
			b.WriteByte(key[i])
			continue
		}
		if i+2 < len(key) {
			if n, err := strconv.ParseUint(key[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
			}
		}
	}
	return b.String()
}

// escapePrefix returns a prefix of all escaped keys below a prefix. Other keys may have it, too.
func escapePrefix(prefix string) string {
	i := strings.LastIndexByte(prefix, '/') + 1
	whole, part := prefix[:i], prefix[i:]
	if strings.Trim(part, ".") == "" {
		part = "" // escaped only if a key ends here
	}
	if whole == "" {
		return escapeBytes(part)
	}
	return escape(whole[:i-1]) + "/" + escapeBytes(part)
}
