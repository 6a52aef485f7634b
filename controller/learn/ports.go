package learn

import (
	"slices"

	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/packet"
)

// MaxPorts is how many ports and ranges of one protocol a learned rule has. Of more, neighbours become
// ranges; where none are near, a port is set aside. A learned rule is never for every port.
const MaxPorts = 20

// MaxGap is how many ports that were not seen may be between neighbours that become a range. Services that
// choose ports of a range for their data (FTP, RTP, RPC) fill even the ephemeral range in smaller steps.
const MaxGap = 1024

// lowestRanged is the first port of ranges with gaps: below it ports are services of their own (RFC 6335).
const lowestRanged = 1024

// covers reports whether a port is in one of the ranges.
func covers(list model.Ports, p model.Port) bool {
	return slices.ContainsFunc(list, func(have model.Port) bool {
		return have.Proto == p.Proto && have.Lo <= p.Lo && p.Hi <= have.Hi
	})
}

// full reports whether a list has as many ports of a protocol as a learned rule lists.
func full(list model.Ports, proto uint8) bool {
	n := 0
	for _, have := range list {
		if have.Proto == proto {
			n++
		}
	}
	return n >= MaxPorts
}

// widen adds a port. Where there are too many of its protocol, the nearest two become a range; without
// such neighbours it returns false.
func widen(list model.Ports, p model.Port) (model.Ports, bool) {
	crowded := full(list, p.Proto)
	out := append(slices.Clone(list), p).Normal()
	if !crowded {
		return out, true
	}
	switch p.Proto {
	case packet.ProtoTCP, packet.ProtoUDP, packet.ProtoSCTP:
	default:
		return nil, false
	}
	at, least := -1, MaxGap+1
	for i := 1; i < len(out); i++ {
		a, b := out[i-1], out[i]
		gap := int(b.Lo) - int(a.Hi) - 1
		if a.Proto != p.Proto || b.Proto != p.Proto || gap > 0 && a.Lo < lowestRanged {
			continue
		}
		if gap < least {
			at, least = i, gap
		}
	}
	if at < 0 {
		return nil, false
	}
	out[at-1].Hi = max(out[at-1].Hi, out[at].Hi)
	return slices.Delete(out, at, at+1), true
}

// without removes a port from a list; a range that has it becomes two.
func without(list model.Ports, p model.Port) model.Ports {
	var out model.Ports
	for _, have := range list {
		if have.Proto != p.Proto || p.Lo < have.Lo || have.Hi < p.Hi {
			out = append(out, have)
			continue
		}
		if have.Lo < p.Lo {
			out = append(out, model.Port{Proto: have.Proto, Lo: have.Lo, Hi: p.Lo - 1})
		}
		if p.Hi < have.Hi {
			out = append(out, model.Port{Proto: have.Proto, Lo: p.Hi + 1, Hi: have.Hi})
		}
	}
	return out.Normal()
}
