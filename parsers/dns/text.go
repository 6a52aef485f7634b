package dns

import (
	"net/netip"
	"strconv"
)

// maxText bounds a written name; attributes are cut at 256.
const maxText = 250

// appendName writes the name at p in the form of RFC 1035 5.1, without the last dot but for
// the root, and ends it when it grows too long for an attribute. The name has been walked before.
func appendName(out, msg []byte, p int) []byte {
	n := len(out)
	for range 2 * maxName {
		if p >= len(msg) || len(out)-n > maxText {
			break
		}
		c := int(msg[p])
		if c == 0 {
			break
		}
		if c&0xc0 == 0xc0 {
			if p+1 >= len(msg) {
				break
			}
			p = c&0x3f<<8 | int(msg[p+1])
			continue
		}
		if c > 63 || p+1+c > len(msg) {
			break
		}
		if len(out) > n {
			out = append(out, '.')
		}
		for _, b := range msg[p+1 : p+1+c] {
			if out = appendChar(out, b); len(out)-n > maxText {
				return out
			}
		}
		p += 1 + c
	}
	if len(out) == n {
		out = append(out, '.')
	}
	return out
}

func appendChar(out []byte, b byte) []byte {
	switch {
	case b == '.' || b == '\\':
		return append(out, '\\', b)
	case b < 0x21 || b > 0x7e:
		return append(out, '\\', '0'+b/100, '0'+b/10%10, '0'+b%10)
	}
	return append(out, b)
}

// appendAnswer writes the data of an address or name record; ok is false for others.
func appendAnswer(out, msg []byte, r record) ([]byte, bool) {
	switch r.typ {
	case typeA, typeAAAA:
		a, valid := netip.AddrFromSlice(msg[r.data : r.data+r.size])
		if !valid {
			return out, false
		}
		return a.AppendTo(out), true
	case typeCNAME, typePTR, typeNS, typeDNAME:
		return appendName(out, msg, r.data), true
	case typeMX:
		return appendName(out, msg, r.data+2), true
	case typeSRV:
		return appendName(out, msg, r.data+6), true
	}
	return out, false
}

// appendType writes a type's mnemonic, or TYPEnnn as RFC 3597 does.
func appendType(out []byte, t uint16) []byte {
	if s, ok := typeNames[t]; ok {
		return append(out, s...)
	}
	return strconv.AppendUint(append(out, "TYPE"...), uint64(t), 10)
}

func appendRCode(out []byte, c uint16) []byte {
	if int(c) < len(rcodeNames) {
		return append(out, rcodeNames[c]...)
	}
	return strconv.AppendUint(append(out, "RCODE"...), uint64(c), 10)
}

var rcodeNames = [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED",
	"YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE", "DSOTYPENI"}

// typeNames are the types that IANA lists and that are met; the others still count as types.
var typeNames = map[uint16]string{1: "A", 2: "NS", 3: "MD", 4: "MF", 5: "CNAME", 6: "SOA", 7: "MB", 8: "MG", 9: "MR", 10: "NULL",
	11: "WKS", 12: "PTR", 13: "HINFO", 14: "MINFO", 15: "MX", 16: "TXT", 17: "RP", 18: "AFSDB", 19: "X25", 20: "ISDN", 21: "RT",
	24: "SIG", 25: "KEY", 26: "PX", 28: "AAAA", 29: "LOC", 33: "SRV", 35: "NAPTR", 36: "KX", 37: "CERT", 38: "A6", 39: "DNAME",
	41: "OPT", 42: "APL", 43: "DS", 44: "SSHFP", 45: "IPSECKEY", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 49: "DHCID", 50: "NSEC3",
	51: "NSEC3PARAM", 52: "TLSA", 53: "SMIMEA", 55: "HIP", 59: "CDS", 60: "CDNSKEY", 61: "OPENPGPKEY", 62: "CSYNC", 63: "ZONEMD",
	64: "SVCB", 65: "HTTPS", 99: "SPF", 108: "EUI48", 109: "EUI64", 249: "TKEY", 250: "TSIG", 251: "IXFR", 252: "AXFR",
	253: "MAILB", 254: "MAILA", 255: "ANY", 256: "URI", 257: "CAA", 32768: "TA", 32769: "DLV"}
