package model

// threatNames are the threats by number.
var threatNames = map[uint32]string{
	1001: "TCP SYN flood", 1002: "ICMP flood", 1003: "source session limit", 1004: "UDP flood", 1005: "scan",
	2001: "bad packet", 2002: "teardrop", 2003: "SYN with data", 2004: "split handshake", 2005: "no data", 2006: "ping of death",
	2007: "DNS loop pointer", 2008: "SSH 1", 2009: "TLS heartbleed", 2010: "SSLv2 cipher overflow", 2011: "SSLv2 or SSLv3", 2012: "TLS 1.0",
	2013: "HTTP negative length", 2014: "HTTP request smuggling", 2015: "slow HTTP", 2016: "TCP small window", 2017: "DNS overflow",
	2018: "access denied repeatedly", 2019: "DNS zone transfer", 2020: "ICMP tunnel", 2021: "DNS NULL record", 2022: "SQL injection",
	2023: "HTTP exploit", 2024: "DNS tunnel", 2025: "TCP small MSS", 2026: "external IP hijack", 2027: "TLS 1.1",
	2028: "overlapping TCP data", 2029: "HTTP header limits", 3001: "spoofed", 3002: "bad checksum", 3003: "bounce",
}

// ThreatName returns the name of a threat's number, "" where it has none.
func ThreatName(id uint32) string { return threatNames[id] }
