package nfqueue

import (
	"time"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/sidecar"
)

// addresses are a workload's own, which give the direction of packets on lo where neither end
// is a loopback address: a sidecar that connects from the addresses of its clients.
type addresses struct {
	list  [][16]byte
	read  func() [][16]byte // nil where they cannot be read
	stamp time.Time
}

// again is the minimum time between two reads of the addresses.
const again = time.Second

// direction returns the direction of a packet between an application and its sidecar; Egress
// is what the application sends.
func (a *addresses) direction(p []byte) packet.Direction {
	e, ok := sidecar.EndsOf(p)
	if !ok {
		return packet.NoDirection
	}
	return e.Direction(a.kindOf(e.Src), a.kindOf(e.Dst))
}

// kindOf returns the kind of an address.
func (a *addresses) kindOf(b []byte) sidecar.End {
	if e := sidecar.EndOf(b); e != sidecar.Elsewhere {
		return e
	}
	if a.has(b) {
		return sidecar.Own
	}
	if a.read != nil && time.Since(a.stamp) > again {
		a.stamp, a.list = time.Now(), a.read()
		if a.has(b) {
			return sidecar.Own
		}
	}
	return sidecar.Elsewhere
}

func (a *addresses) has(b []byte) bool {
	for i := range a.list {
		if own := &a.list[i]; len(b) == 4 && string(own[12:]) == string(b) && string(own[:12]) == mapped || string(own[:]) == string(b) {
			return true
		}
	}
	return false
}

// mapped is the prefix of IPv4-mapped IPv6 addresses.
const mapped = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff"
