package nfqueue

import (
	"encoding/binary"
	"time"

	"github.com/sluicenet/sluice/core/packet"
)

// addresses are those of a workload itself, which tell the way of packets on lo where neither end is a
// loopback address: a sidecar that speaks in the name of its clients.
type addresses struct {
	list  [][16]byte
	read  func() [][16]byte // nil where it cannot be read
	stamp time.Time
}

// again is how often addresses are read at the most.
const again = time.Second

// Ends of a packet on lo.
type end uint8

const (
	elsewhere end = iota // somebody outside
	mine                 // the workload's own address
	loop                 // the loopback address: applications, and a sidecar that listens
	proxy                // from where a sidecar speaks to its application: 127.0.0.6 and ::6
)

// direction is that of a packet between an application and its sidecar; Egress is what the application
// sends. A redirect of what the workload itself sends goes to the loopback address
// (nf_nat_redirect.c); what the sidecar got from outside it sends on from an address of its own, or
// from its client's.
func (a *addresses) direction(p []byte) packet.Direction {
	if len(p) < 20 {
		return packet.NoDirection
	}
	var src, dst []byte
	l4 := 40
	if p[0]>>4 == 4 {
		src, dst, l4 = p[12:16], p[16:20], int(p[0]&15)*4
	} else {
		if len(p) < 40 {
			return packet.NoDirection
		}
		src, dst = p[8:24], p[24:40]
	}
	from, to := a.end(src), a.end(dst)
	switch {
	case from == proxy || to == mine && from != mine:
		return packet.Ingress
	case to == proxy || from == mine && to != mine:
		return packet.Egress
	case to == loop && from == elsewhere:
		return packet.Egress
	case from == loop && to == elsewhere:
		return packet.Ingress
	case len(p) < l4+4:
		return packet.NoDirection
	}
	// Clients' ports are the higher ones.
	if binary.BigEndian.Uint16(p[l4:]) >= binary.BigEndian.Uint16(p[l4+2:]) {
		return packet.Egress
	}
	return packet.Ingress
}

// end says what an address is.
func (a *addresses) end(b []byte) end {
	switch {
	case len(b) == 4 && b[0] == 127 || len(b) == 16 && binary.BigEndian.Uint64(b) == 0 && binary.BigEndian.Uint64(b[8:])>>8 == 0:
		if last := b[len(b)-1]; last == 6 && (len(b) == 16 || b[1] == 0 && b[2] == 0) {
			return proxy
		}
		return loop
	}
	if a.has(b) {
		return mine
	}
	if a.read != nil && time.Since(a.stamp) > again {
		a.stamp, a.list = time.Now(), a.read()
		if a.has(b) {
			return mine
		}
	}
	return elsewhere
}

func (a *addresses) has(b []byte) bool {
	for i := range a.list {
		if own := &a.list[i]; len(b) == 4 && string(own[12:]) == string(b) && string(own[:12]) == mapped || string(own[:]) == string(b) {
			return true
		}
	}
	return false
}

// mapped begins IPv4 addresses that are written as IPv6's.
const mapped = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff"
