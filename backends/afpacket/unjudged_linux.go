package afpacket

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
)

var _ backend.UnjudgedCounter = (*Backend)(nil)

// oversized counts frames of one endpoint that were larger than a slot.
type oversized struct{ frames, bytes atomic.Uint64 }

// missing lists why frames of an endpoint were not steered, in the order of enum missing.
var missing = [...]struct {
	counter steerCounter // of all endpoints
	cause   string
	dropped bool
}{
	{steerCounterBYPASSED, backend.NoHeartbeat, false}, {steerCounterSTOPPED, backend.NoHeartbeat, true},
	{steerCounterFLOODED, backend.Flood, true}, {steerCounterCROWDED, backend.RingShare, true},
}

// missed is a port's counts of frames without a verdict. The backend's lock guards it.
type missed struct {
	steered   [len(missing)]uint64   // frames that were not steered, of all endpoints
	heartbeat map[uint32]steerMissed // the same by endpoint
	large     map[uint32][2]uint64   // oversize frames and bytes, by endpoint
	ringFull  uint64
	waiting   []backend.Unjudged // not returned yet
}

// TakeUnjudged implements backend.UnjudgedCounter.
func (b *Backend) TakeUnjudged() []backend.Unjudged {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.ports {
		p.collectUnjudged()
		p.refreshPaths()
		b.collectFrom(p)
	}
	out := b.unjudged
	b.unjudged = nil
	return out
}

// collectFrom moves a port's counts to the backend. The lock is held.
func (b *Backend) collectFrom(p *port) {
	b.unjudged = append(b.unjudged, p.missed.waiting...)
	p.missed.waiting = nil
}

// collectUnjudged reads the counters of a port and of its endpoints. The backend's lock is held.
func (p *port) collectUnjudged() {
	m := &p.missed
	var sum [len(counterNames)]uint64
	if p.counters(&sum) == nil {
		var now [len(missing)]uint64
		for i := range missing {
			now[i] = sum[missing[i].counter]
		}
		if now != m.steered {
			m.steered = now
			for id := range p.attached {
				p.collectHeartbeat(id)
			}
		}
	}
	for id, k := range p.queue.endpoints.all() {
		now := [2]uint64{k.large.frames.Load(), k.large.bytes.Load()}
		if last := m.large[id]; now != last {
			m.large[id] = now
			m.add(backend.Unjudged{Endpoint: id, Cause: backend.Oversize, Dropped: true, Frames: now[0] - last[0], Bytes: now[1] - last[1]})
		}
	}
	if n := p.queue.Stats().Dropped; n != m.ringFull {
		u := backend.Unjudged{Cause: backend.RingFull, Dropped: true, Frames: n - m.ringFull}
		if len(p.attached) == 1 && len(p.retired) == 0 {
			for u.Endpoint = range p.attached { // the ring is its own
			}
		}
		m.ringFull = n
		m.add(u)
	}
}

// collectHeartbeat reads the steering programs' counts of one endpoint.
func (p *port) collectHeartbeat(id uint32) {
	var now steerMissed
	if p.objs.Unjudged.Lookup(id, &now) != nil {
		return
	}
	last := p.missed.heartbeat[id]
	p.missed.heartbeat[id] = now
	for i := range missing {
		p.missed.add(backend.Unjudged{Endpoint: id, Cause: missing[i].cause, Dropped: missing[i].dropped,
			Frames: now.Frames[i] - last.Frames[i], Bytes: now.Bytes[i] - last.Bytes[i]})
	}
}

// forgetUnjudged collects the counts of an endpoint for the last time.
func (p *port) forgetUnjudged(id uint32) error {
	p.collectHeartbeat(id)
	delete(p.missed.heartbeat, id)
	return p.objs.Unjudged.Delete(id)
}

func (m *missed) add(u backend.Unjudged) {
	if u.Frames > 0 {
		m.waiting = append(m.waiting, u)
	}
}

// tooLarge counts a frame that did not fit into a slot, of which frame is the beginning.
func (q *inline) tooLarge(frame []byte, wire, status uint32, tci uint16, eps map[uint32]known) {
	q.oversize.Add(1)
	if !q.grown {
		q.rings.grow()
	}
	if len(frame) < 14 {
		return
	}
	w := tagOf(frame, unix.TP_STATUS_VLAN_VALID&status, tci)
	if k, ok := eps[w.id]; ok {
		k.large.frames.Add(1)
		k.large.bytes.Add(uint64(wire))
	}
}
