package path

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/threat"
)

// Owners are the lists of the workloads that have an address, on one node. It is immutable.
type Owners map[packet.Addr][]*own.List

// OwnersOf returns the owners of the addresses of some endpoints.
func OwnersOf(ends Endpoints) Owners {
	o := Owners{}
	seen := map[*own.List]bool{}
	for _, e := range ends {
		if e.Sources == nil || seen[e.Sources] {
			continue
		}
		seen[e.Sources] = true
		e.Sources.Set().Addrs(func(a packet.Addr) { o[a] = append(o[a], e.Sources) })
	}
	return o
}

// links judges what is decided by the link that a packet came over, and not by policy: whose its
// addresses are, and the protocols that keep the link and its addresses going.
type links struct {
	ses       *Sessions
	sources   sources
	leases    leases
	capture   bool
	replaying bool // the present frame passed already
}

// sources remembers which combinations of addresses were verified, so that the next packet costs
// one comparison.
type sources struct {
	known   [64]source
	checked int64 // when known was cleared last, ns since the epoch
}

type source struct {
	src      packet.Addr
	mac      own.MAC
	endpoint uint32
	dir      packet.Direction
}

// sourcesFor bounds how long an address that was removed is still believed, ns.
const sourcesFor = int64(1e9)

// reset forgets what was verified: endpoints or time have changed.
func (s *sources) reset(now int64) {
	s.checked = now
	clear(s.known[:])
}

// verifies reports whether packets of an endpoint are checked for the addresses of their senders.
// Between an application and its sidecar, foreign addresses are ordinary.
func (c *packetContext) verifies() bool {
	return c.v.Sources != nil && !c.v.Loopback && c.f.Dir != packet.NoDirection
}

// sent reports whether a packet's source address is its sender's: of a packet that the workload
// sends one of its own, of one that it receives not that of another workload of the node with
// another MAC address.
func (l *links) sent(c *packetContext) bool {
	if !c.verifies() {
		return true
	}
	x := source{c.p.Src, c.p.SrcMAC, c.v.ID, c.f.Dir}
	h := binary.LittleEndian.Uint32(x.src[12:]) ^ binary.LittleEndian.Uint32(x.src[4:]) ^ uint32(x.mac[5])<<8 ^ x.endpoint ^ uint32(x.dir)
	at := &l.sources.known[h*0x9e3779b1>>26]
	if *at == x {
		return true
	}
	if c.f.Dir == packet.Egress {
		if !c.v.Sources.Forwards() && !c.v.Sources.HasAddr(&c.p.Src, own.Sent) {
			return l.continues(c)
		}
	} else if !l.claims(c, &c.p.Src, &c.p.SrcMAC) {
		return false
	}
	*at = x
	return true
}

// continues reports whether a packet that the workload sends belongs to a session which it opened by
// an address that it has no more, and that no other workload of the node has: its network stack
// sends for a while although no answer arrives, which is no forgery.
func (l *links) continues(c *packetContext) bool {
	if !c.v.Sources.Had(&c.p.Src) {
		return false
	}
	if c.v.owners != nil {
		for _, o := range (*c.v.owners)[c.p.Src] {
			if o != c.v.Sources {
				return false
			}
		}
	}
	k, _ := session.KeyOf(c.p, c.v.ID)
	return l.ses.table.Lookup(&k) != nil
}

// claims reports whether a received packet may state that an address is at a MAC address. It may
// not where the address is the workload's own, or that of another workload on the same link which
// has other MAC addresses.
func (l *links) claims(c *packetContext, a *packet.Addr, mac *own.MAC) bool {
	if c.v.Sources.StillHas(a) {
		return c.v.Sources.HasMAC(mac, own.Claimed) && *mac != own.MAC{} // its own, reflected
	}
	if *mac == (own.MAC{}) || c.v.owners == nil {
		return true
	}
	list := (*c.v.owners)[*a]
	if len(list) == 0 || !c.v.Sources.OnLink(a) {
		return true
	}
	held := false
	for _, o := range list {
		if o.HasMAC(mac, own.Claimed) || o.Forwards() {
			return true
		}
		held = held || o.StillHas(a)
	}
	return !held || c.v.Sources.Gateway(mac)
}

// misplaced reports whether a received frame is not for the workload: its MAC address is neither
// the workload's nor a group's, or a group's while its IP destination is another host.
func (l *links) misplaced(c *packetContext) bool {
	if !c.verifies() || c.f.Dir != packet.Ingress || c.f.Link != packet.Ethernet || c.v.Sources.Forwards() {
		return false
	}
	if c.p.DstMAC[0]&1 == 0 {
		return !c.v.Sources.HasMAC(&c.p.DstMAC, own.Received)
	}
	return (c.p.Status == packet.OK || c.p.Status == packet.Fragment) && !c.toGroup() && !c.v.Sources.HasAddr(&c.p.Dst, own.Received)
}

// toGroup reports whether a packet is sent to a multicast or broadcast address.
func (c *packetContext) toGroup() bool {
	return isGroup(&c.p.Dst, c.p.IPv6) || !c.p.IPv6 && c.v.Sources != nil && c.v.Sources.Broadcast(&c.p.Dst)
}

// isGroup reports whether an address is multicast or the limited broadcast address.
func isGroup(a *packet.Addr, ipv6 bool) bool {
	if ipv6 {
		return a[0] == 0xff
	}
	return a[12]&0xf0 == 0xe0 || *a == limitedBroadcast
}

// limitedBroadcast is 255.255.255.255 (RFC 919).
var limitedBroadcast = packet.Addr{10: 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// forgedMAC reports whether a frame that the workload sent has a MAC address that is not its own.
func (c *packetContext) forgedMAC() bool {
	return c.verifies() && c.f.Dir == packet.Egress && c.f.Link == packet.Ethernet && !c.v.Sources.Forwards() && !c.v.Sources.HasMAC(&c.p.SrcMAC, own.Sent)
}

// enforces reports whether a refusal has effect.
func (l *links) enforces(c *packetContext) bool { return c.v.Inline && !l.replaying }

// refuseSource reports a frame whose sender is not who its addresses state, and drops it inline.
func (l *links) refuseSource(c *packetContext, format string, args ...any) packet.Action {
	l.ses.out.count[counter.SpoofedFrames]++
	if l.ses.out.admits(threatKey{threat.Spoofed, c.v.ID, c.p.Src}, l.ses.now) {
		l.ses.out.report(c, l.ses.now, threat.Spoofed, fmt.Sprintf(format, args...))
	}
	if c.p.Status == packet.OK {
		l.ses.spoofed(c)
	}
	if l.enforces(c) {
		return c.stop(counter.Spoofed)
	}
	return packet.Pass
}

// refuseSender is refuseSource for the source address of a packet.
func (l *links) refuseSender(c *packetContext) packet.Action {
	if c.f.Dir == packet.Egress {
		return l.refuseSource(c, "source address is not the workload's")
	}
	return l.refuseSource(c, "source address is not that of the sender %s", net.HardwareAddr(c.p.SrcMAC[:]))
}

// drop counts a packet that no policy can allow, and drops it inline.
func (l *links) drop(c *packetContext, id counter.ID, why counter.Cause) packet.Action {
	l.ses.out.count[id]++
	if l.enforces(c) {
		return c.stop(why)
	}
	return packet.Pass
}
