package engine

import (
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/core/session"
)

// icmpError judges an ICMP error by the session of the packet that it quotes: errors about what
// passes pass (path MTU discovery depends on it), errors about what is denied do not.
// known is false when there is no such session.
func (w *worker) icmpError(v *view, f *packet.Frame, p *packet.Packet) (a packet.Action, known bool) {
	quoted := packet.Frame{
		Data: p.Embedded, Wire: 1 << 16, Endpoint: f.Endpoint, Link: packet.RawIP,
		Flags: packet.Truncated | packet.PartialChecksum,
	}
	w.inner.Decode(&quoted)
	if w.inner.Status != packet.OK {
		return packet.Undecided, false
	}
	k, _ := session.KeyOf(&w.inner, f.Endpoint)
	s := w.table.Lookup(&k)
	if s == nil {
		return packet.Undecided, false
	}
	w.count.icmpErrors++
	if report.Verdict(s.Verdict) == report.Deny && v.inline {
		return packet.Drop, true
	}
	return packet.Pass, true
}
