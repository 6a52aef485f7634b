package engine

import (
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/frag"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/threat"
)

// fragment collects fragments: the datagram is judged whole, and its fragments go the way
// it goes.
func (w *worker) fragment(v *view, f *packet.Frame, p *packet.Packet) packet.Action {
	now := w.stamp(f)
	var r frag.Result
	if v.inline && w.sender != nil {
		r = w.frags.Add(p, f, now)
	} else {
		r = w.frags.Watch(p, f, now)
	}
	switch r.Outcome {
	case frag.Held:
		return w.stop(kept) // its copy goes on with the datagram
	case frag.Complete:
		return w.rebuilt(v, f, &r)
	case frag.Decided:
		w.cause = byFragment
		return r.Verdict.Action
	case frag.Bad:
		w.count[counter.BadFragments]++
		w.badFragment(v, p, r.Reason)
		w.frags.SetVerdict(packet.Verdict{Action: packet.Drop})
	}
	return w.stop(byFragment)
}

// rebuilt judges a datagram, whose last fragment to come was last, and lets its fragments follow.
func (w *worker) rebuilt(v *view, last *packet.Frame, r *frag.Result) packet.Action {
	p := &w.whole
	p.Decode(&r.Datagram)
	a := packet.Pass
	switch {
	case p.Status == packet.OK && !w.rebuilding:
		w.rebuilding, w.fragments, w.lastFragment = true, r.Frames, last
		a = w.packet(v, &r.Datagram, p)
		w.rebuilding, w.fragments, w.lastFragment = false, nil, nil
	case p.Status == packet.Malformed:
		w.count[counter.Malformed]++
		w.threat(v, p, 0, threat.BadPacket, string(p.Reason))
		a = w.stop(byForm)
	}
	w.frags.SetVerdict(packet.Verdict{Action: a})
	if a != packet.Pass || w.sender == nil {
		return a
	}
	for _, f := range r.Frames {
		if err := w.sender.Send(f); err != nil {
			w.count[counter.SendFailed]++
		}
	}
	return a
}

// badFragment reports what a datagram's fragments show of their sender.
func (w *worker) badFragment(v *view, p *packet.Packet, reason frag.Reason) {
	switch reason {
	case frag.CutShort, frag.TooMany, frag.NoRoom:
	case frag.Oversize:
		w.threat(v, p, 0, threat.PingOfDeath, "fragments make more than 65535 bytes")
	case frag.Overlap:
		w.threat(v, p, 0, threat.Teardrop, "overlapping fragments")
	default:
		w.threat(v, p, 0, threat.BadPacket, "fragments: "+string(reason))
	}
}
