// Package offload decides which sessions need no user space any more, keeps what the kernel
// counted of them, and brings them back. Flows is a worker's part and the only caller of
// backend.Offloader; Recall is an attachment's part and the only caller of backend.Recaller.
// Policy is not asked here.
package offload

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// Which flows pass in the kernel, and how often it is asked about them.
const (
	After = 24 // packets of a session before it may leave, so that short connections cost nothing

	asksPerBatch = 256          // questions between two batches
	askCost      = int64(100e3) // ns between two questions about one of many flows, for each of them
	minQuiet     = int64(2e9)   // ns between two questions about a flow
	maxQuiet     = int64(16e9)  // ns between two questions about a flow that carries nothing
)

// Counts are what a worker's flows came to.
type Counts struct {
	Offloaded      uint64 // sessions that left
	Packets, Bytes uint64 // what passed in the kernel alone
}

// Flows are the sessions of one worker that may pass in the kernel. The zero value, without a
// kernel, has all of them stay. The worker's goroutine alone uses it.
type Flows struct {
	Counts Counts
	kernel backend.Offloader
	flows  map[uint64]*entry // by session number
	asks   int               // since BeginBatch
}

// entry is what is remembered of one session that may pass in the kernel.
type entry struct {
	packets, bytes [2]uint64 // what the session had that the kernel has not counted; may be "negative"
	seen, seenSize uint64    // frames that came here all the same since the kernel was asked last
	quiet          int64     // ns until it is asked again
}

// New returns the flows of a queue; k may be nil.
func New(k backend.Offloader) Flows { return Flows{kernel: k} }

// Possible reports whether sessions can leave at all.
func (o *Flows) Possible() bool { return o.kernel != nil }

// BeginBatch allows for another batch's questions to the kernel.
func (o *Flows) BeginBatch() { o.asks = 0 }

// Decided reports whether nothing but another policy can change what becomes of a session,
// and nobody reads it any more. DNS is read to its end, as each answer may say where a name leads.
func Decided(s *session.Session) bool {
	switch {
	case s.Key.Proto != packet.ProtoTCP && s.Key.Proto != packet.ProtoUDP, s.Aux != 0, s.State.Over(), s.State == flow.PhaseClosing:
		return false
	case s.Marks&(session.Identified|session.Stays) != session.Identified || s.Packets[0]+s.Packets[1] < After:
		return false
	case app.ID(s.App) == app.DNS, app.ID(s.Base) == app.DNS, app.ID(s.App) == app.MDNS:
		return false
	}
	return s.Verdict.Passes() && s.Reason != flow.ByUnready && s.Reason != flow.ByFailOpen
}

// Leave prepares a decided session to pass in the kernel and reports whether it may: then each
// of its frames may carry the present generation.
func (o *Flows) Leave(s *session.Session) bool {
	if s.Marks&session.Offloaded != 0 {
		return true
	}
	k := KeyOf(s)
	c, ok := o.kernel.Offload(&k)
	if !ok {
		s.Marks |= session.Stays
		return false
	}
	e := &entry{quiet: minQuiet}
	// The kernel has counted a connection that it saw from its first packet on right, and what waits in the
	// queue as well. Of any other it counts what comes from now on.
	if s.Flags&session.Midstream != 0 || c.Packets[0] < s.Packets[0] || c.Packets[1] < s.Packets[1] {
		for d := range e.packets {
			e.packets[d], e.bytes[d] = s.Packets[d]-c.Packets[d], s.Bytes[d]-c.Bytes[d]
		}
	}
	if o.flows == nil {
		o.flows = map[uint64]*entry{}
	}
	o.flows[s.ID] = e
	s.Marks |= session.Offloaded
	o.Counts.Offloaded++
	return true
}

// KeyOf names a session to the kernel.
func KeyOf(s *session.Session) backend.FlowKey {
	k := backend.FlowKey{Endpoint: s.Key.Endpoint, Proto: s.Key.Proto, IPv6: s.Key.IPv6}
	k.Client, k.ClientPort = s.Client()
	k.Server, k.ServerPort = s.Server()
	return k
}

// Segment prepares a session that passes in the kernel for a segment of it that came here
// all the same, and reports whether the segment may end it.
func (o *Flows) Segment(s *session.Session, p *packet.Packet, now int64) (ending bool) {
	s.Flags |= session.Away
	if p.Flags&(packet.SYN|packet.FIN|packet.RST) == 0 {
		return false
	}
	if p.Flags&packet.SYN != 0 {
		o.ask(s, now) // the connection that this one follows may be over
	}
	return true
}

// Seen notes a frame that came here and that the kernel counted, too.
func (o *Flows) Seen(s *session.Session, n int, now int64) {
	s.Last = now
	if e := o.flows[s.ID]; e != nil {
		e.seen++
		e.seenSize += uint64(n)
	}
}

// ask takes what the kernel counted into a session, and whether it is over. A session that the kernel
// knows no more is one like any other.
func (o *Flows) ask(s *session.Session, now int64) (changed bool) {
	e := o.flows[s.ID]
	if e == nil {
		o.forget(s, nil)
		return false
	}
	k := KeyOf(s)
	c, ok := o.kernel.Drain(&k)
	o.asks++
	if !ok {
		o.forget(s, e)
		return false
	}
	for d := range c.Packets {
		packets, bytes := c.Packets[d]+e.packets[d]-s.Packets[d], c.Bytes[d]+e.bytes[d]-s.Bytes[d]
		if int64(packets) <= 0 || int64(bytes) < 0 {
			continue
		}
		changed = true
		s.Packets[d] += packets
		s.Bytes[d] += bytes
		o.Counts.Packets += packets
		o.Counts.Bytes += bytes
	}
	if changed {
		s.Last = now
		o.Counts.Packets -= min(e.seen, o.Counts.Packets)
		o.Counts.Bytes -= min(e.seenSize, o.Counts.Bytes)
		e.seen, e.seenSize = 0, 0
	}
	if c.Over && s.Key.Proto == packet.ProtoTCP && !s.State.Over() {
		closed(s)
	}
	return changed
}

// closed ends a connection that the kernel saw end.
func closed(s *session.Session) {
	if s.Doubtful() {
		s.State = flow.PhaseReset
	} else {
		s.State = flow.PhaseClosed
	}
	s.Marks |= session.Changed
}

// forget makes a session that the kernel knows no more one like any other.
func (o *Flows) forget(s *session.Session, e *entry) {
	s.Marks &^= session.Offloaded
	s.Flags |= session.Away
	delete(o.flows, s.ID)
	if e != nil && e.seen > 0 {
		s.Packets[0] += e.seen // which way they went is not known any more
		s.Bytes[0] += e.seenSize
	}
	if s.State == flow.PhaseClosing || s.Doubtful() {
		closed(s)
	}
}

// Recount asks the kernel about a session whose timer came, and returns when to ask again: 0 if the
// session is to be looked after as any other.
func (o *Flows) Recount(s *session.Session, now int64) (again int64) {
	if o.asks >= asksPerBatch {
		return now + session.Tick
	}
	if s.Verdict == flow.Deny {
		o.Settle(s, now) // all of it comes here
		return 0
	}
	e := o.flows[s.ID]
	changed := o.ask(s, now)
	switch {
	case s.Marks&session.Offloaded == 0, s.State.Over():
		return 0
	case changed || s.State == flow.PhaseClosing:
		e.quiet = max(minQuiet, int64(len(o.flows))*askCost)
	default:
		e.quiet = min(2*e.quiet, max(maxQuiet, int64(len(o.flows))*askCost))
	}
	return now + e.quiet
}

// Settle takes the kernel's last count into a session that ends here or moves.
func (o *Flows) Settle(s *session.Session, now int64) {
	if s.Marks&session.Offloaded == 0 {
		return
	}
	o.ask(s, now)
	delete(o.flows, s.ID)
	s.Marks &^= session.Offloaded
}

// Return takes a session that has to make room back into the queue.
func (o *Flows) Return(s *session.Session) {
	if s.Marks&session.Offloaded != 0 && o.kernel != nil {
		k := KeyOf(s)
		o.kernel.Return(&k)
	}
}
