package engine

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// Flags of session.Session that are the engine's own.
const (
	flagIdentified = session.EngineFlag << iota // identification is over
	flagChanged                                 // something is new since the last record
	flagPassed                                  // its hold time ran out and it passes
	flagIdle                                    // armed with its time-out, not with a report
	flagEnded                                   // the End record was written
	flagTraced                                  // its real destination was looked up (lo only)
	flagReleased                                // it was held once, and is not again
	flagLost                                    // its application is unknown because parsers were away
	flagOffloaded                               // it may pass in the kernel, which counts it
	flagEither                                  // its client is not known for sure: policy is asked about both orientations
)

// Time-outs of reporting, ns.
const (
	startAfter  = int64(250e6) // a session is reported at the latest this long after its first packet
	updateEvery = int64(2e9)   // and then this often while it carries anything
	endAfter    = int64(50e6)  // its end is, this long after it closed
)

// open makes the session of a packet whose session is not known; nil when the table is full.
func (w *worker) open(v *view, f *packet.Frame, p *packet.Packet, k *session.Key, swapped bool) *session.Session {
	now := w.stamp(f)
	s := w.table.Insert(k, now)
	if s == nil {
		return nil
	}
	c := w.roleContext(v)
	claim := c.Opening(p, f.Dir)
	s.ClientIsA = claim.FromSource != swapped
	s.ID = w.e.ids.Add(1)
	s.App, s.Base = uint16(app.Undecided), uint16(app.Undecided)
	s.Evidence = uint8(claim.Evidence)
	s.Dir = clientDir(f.Dir, claim.FromSource)
	first := startAfter
	if claim.Midstream {
		s.Flags |= session.Midstream
	}
	if !claim.Firm && f.Dir != packet.NoDirection {
		s.Flags |= flagEither
		first = firmAfter
	}
	if p.Proto != packet.ProtoTCP && p.Proto != packet.ProtoUDP {
		s.App, s.Base = uint16(app.Unknown), uint16(app.Unknown)
		s.Flags |= flagIdentified
	}
	w.count.opened++
	w.tally(v).n[atOpened]++
	w.begun(v)
	w.table.Schedule(s, now+first)
	return s
}

// clientDir is the session's direction: Egress where the workload is the client.
func clientDir(frame packet.Direction, srcIsClient bool) packet.Direction {
	if srcIsClient {
		return frame
	}
	return frame.Reverse()
}
