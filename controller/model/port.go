package model

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// Port is a range of ports of one protocol, in text as "tcp/80", "tcp/8000-8100", "tcp/any" or
// "icmp". The last means ICMP of both families; "icmpv6" is ICMPv6 alone.
type Port policy.PortSpec

// Ports are the ports of a rule; empty is any.
type Ports []Port

const portHelp = `write "any", "tcp/80", "tcp/8000-8100", "udp/53", "sctp/any" or "icmp"`

// String is the port as ParsePort reads it.
func (p Port) String() string { return policy.PortSpec(p).String() }

// MarshalText is String.
func (p Port) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is ParsePort.
func (p *Port) UnmarshalText(b []byte) (err error) { *p, err = ParsePort(string(b)); return err }

// ParsePort reads one port or range of ports.
func ParsePort(s string) (Port, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	name, ports, has := strings.Cut(text, "/")
	p := Port{Hi: 65535}
	if name == "any" && !has {
		return p, nil
	}
	if _, err := strconv.Atoi(strings.ReplaceAll(name, "-", "")); err == nil && !has {
		return Port{}, fmt.Errorf("port %q has no protocol: write tcp/%s or udp/%s", s, name, name)
	}
	if name != "any" {
		proto, err := policy.ParseProto(name)
		if err != nil {
			return Port{}, fmt.Errorf("port %q: %w", s, err)
		}
		p.Proto = proto
	}
	switch {
	case !has || ports == "any":
		return p, nil
	case p.Proto != 0 && !policy.HasPorts(p.Proto):
		return Port{}, fmt.Errorf("port %q: %s has no ports: write just %q", s, name, name)
	}
	lo, hi, isRange := strings.Cut(ports, "-")
	if !isRange {
		hi = lo
	}
	l, errLo := strconv.ParseUint(strings.TrimSpace(lo), 10, 16)
	h, errHi := strconv.ParseUint(strings.TrimSpace(hi), 10, 16)
	switch {
	case errLo != nil || errHi != nil:
		return Port{}, fmt.Errorf("port %q: %q is not a port from 0 to 65535: %s", s, ports, portHelp)
	case l > h:
		return Port{}, fmt.Errorf("port %q: the range is the wrong way round: write %s/%d-%d", s, name, h, l)
	}
	p.Lo, p.Hi = uint16(l), uint16(h)
	return p, nil
}

// ParsePorts reads the ports of a rule; an element may hold several with commas between
// them. Nothing, or "any" among them, is any. The result is sorted and has no port twice.
func ParsePorts(list []string) (Ports, error) {
	var out Ports
	for _, e := range list {
		for s := range strings.SplitSeq(e, ",") {
			if strings.TrimSpace(s) == "" {
				continue
			}
			p, err := ParsePort(s)
			if err != nil {
				return nil, err
			}
			if p.any() {
				return nil, nil
			}
			out = append(out, p)
		}
	}
	return out.Normal(), nil
}

// Normal is the ports sorted and each once; nil where one is any.
func (ps Ports) Normal() Ports {
	if len(ps) == 0 || slices.ContainsFunc(ps, Port.any) {
		return nil
	}
	out := slices.Clone(ps)
	slices.SortFunc(out, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Lo, b.Lo), cmp.Compare(a.Hi, b.Hi))
	})
	return slices.Compact(out)
}

// Strings is the ports in text, "any" where there are none.
func (ps Ports) Strings() []string {
	if len(ps) == 0 {
		return []string{"any"}
	}
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.String()
	}
	return out
}

// Specs is the ports as policy has them.
func (ps Ports) Specs() []policy.PortSpec {
	var out []policy.PortSpec
	for _, p := range ps {
		out = append(out, policy.PortSpec(p))
		if p.Proto == packet.ProtoICMP {
			out = append(out, policy.PortSpec{Proto: packet.ProtoICMPv6, Lo: p.Lo, Hi: p.Hi})
		}
	}
	return out
}

func (p Port) any() bool { return p.Proto == 0 && p.Lo == 0 && p.Hi == 65535 }
