package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// protoNames are the IP protocols with names, by IANA's keywords.
var protoNames = map[uint8]string{
	1: "icmp", 2: "igmp", 4: "ipip", 6: "tcp", 17: "udp", 33: "dccp", 41: "ipv6", 47: "gre", 50: "esp", 51: "ah",
	58: "icmpv6", 89: "ospf", 103: "pim", 112: "vrrp", 132: "sctp", 136: "udplite",
}

// ProtoName returns a protocol's name, "ip-N" for one without.
func ProtoName(p uint8) string {
	if n, ok := protoNames[p]; ok {
		return n
	}
	return "ip-" + strconv.Itoa(int(p))
}

// ParseProto returns the protocol with a name or an "ip-N".
func ParseProto(s string) (uint8, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	for p, n := range protoNames {
		if n == s {
			return p, nil
		}
	}
	if n, ok := strings.CutPrefix(s, "ip-"); ok {
		if p, err := strconv.ParseUint(n, 10, 8); err == nil && p > 0 {
			return uint8(p), nil
		}
	}
	return 0, fmt.Errorf("no protocol is called %q: use tcp, udp, icmp, icmpv6, sctp or ip-N with its number", s)
}

// HasPorts reports whether a protocol has ports: TCP, UDP, DCCP, SCTP and UDP-Lite.
func HasPorts(p uint8) bool {
	switch p {
	case 6, 17, 33, 132, 136:
		return true
	}
	return false
}

// String returns "any", "tcp/80", "tcp/8000-8100", "tcp/any", "icmp", or "any/80" for a port
// of every protocol.
func (p PortSpec) String() string {
	name := "any"
	if p.Proto != 0 {
		name = ProtoName(p.Proto)
	}
	switch {
	case p.Lo == 0 && p.Hi == 65535 && (p.Proto == 0 || !HasPorts(p.Proto)):
		return name
	case p.Lo == 0 && p.Hi == 65535:
		return name + "/any"
	case p.Lo == p.Hi:
		return fmt.Sprintf("%s/%d", name, p.Lo)
	}
	return fmt.Sprintf("%s/%d-%d", name, p.Lo, p.Hi)
}

// Contains reports whether the specification includes a port of a protocol.
func (p PortSpec) Contains(proto uint8, port uint16) bool {
	return (p.Proto == 0 || p.Proto == proto) && p.Lo <= port && port <= p.Hi
}
