package path

import (
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/packet"
)

// tooBig answers a passing packet that is larger than the path of its tunnel with an ICMP
// error, as the tunnel does for bridged packets, so that its sender lowers its path MTU. The
// packet passes: the tunnel's outer packet is fragmented, or lost where it cannot be. An IPv4
// packet that may be fragmented is answered too, because over IPv6 its outer packet may not.
func (a *actuator) tooBig(c *packetContext, now int64, r *Recorder) {
	if !a.exits.sends(c.f.Endpoint) || c.p.Largest(c.f) <= int(c.f.PathMTU) || !c.p.MayAnswer() || !a.mayError(now) {
		return
	}
	link, ok := c.p.LinkHeader(c.f)
	if !ok {
		return
	}
	u := packet.Unreachable{Link: link, Back: true, IPv6: c.p.IPv6, Src: c.p.Dst, Dst: c.p.Src, Quote: c.p.Network}
	a.inject(c.f, packet.BuildTooBig(a.buf[:], u, c.f.PathMTU), c.f.Dir.Reverse(), r)
	r.count[counter.TooBig]++
}

// mayError counts an ICMP error, and reports whether this second has room for it.
func (a *actuator) mayError(now int64) bool {
	a.tick(now)
	a.errors++
	return a.errors <= rejectsPerSecond
}
