// Package offload decides which sessions can be offloaded to the kernel, applies the kernel's
// counts to them, and brings them back. Flows is a worker's part and the only caller of
// backend.Offloader; Recall is an attachment's part and the only caller of backend.Recaller.
// Policy is not evaluated here.
package offload

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// Which flows are offloaded, and how often the kernel is queried about them.
const (
	After = 24 // packets of a session before it is offloaded, so that short connections cost nothing

	asksPerBatch = 256          // queries between two batches
	askCost      = int64(100e3) // ns between two queries about one of many flows, for each of them
	minQuiet     = int64(2e9)   // ns between two queries about a flow
	maxQuiet     = int64(16e9)  // ns between two queries about an idle flow
)

// Counts are the totals of a worker's flows.
type Counts struct {
	Offloaded      uint64 // offloaded sessions
	Packets, Bytes uint64 // passed in the kernel only
}

// Flows are the offloadable sessions of one worker. In the zero value, without a kernel, none
// is offloaded. Only the worker's goroutine uses it.
type Flows struct {
	Counts Counts
	kernel backend.Offloader
	flows  map[uint64]*entry // by session number
	asks   int               // since BeginBatch
}

// entry is the state of one offloaded session.
type entry struct {
	packets, bytes [2]uint64 // of the session but not counted by the kernel; may be "negative"
	seen, seenSize uint64    // frames that reached the queue since the last query
	quiet          int64     // ns until the next query
}

// New returns the flows of a queue; k may be nil.
func New(k backend.Offloader) Flows { return Flows{kernel: k} }

// Possible reports whether sessions can be offloaded at all.
func (o *Flows) Possible() bool { return o.kernel != nil }

// BeginBatch resets the budget of queries to the kernel.
func (o *Flows) BeginBatch() { o.asks = 0 }

// Decided reports whether only another policy can change the verdict of a session, and no
// parser reads it any more. DNS is read to its end, as each answer may map a name to an
// address.
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

// Leave prepares a decided session for offloading and reports whether it is possible: then
// each of its frames may carry the present generation.
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
	// The kernel has counted a connection correctly that it saw from its first packet on,
	// including what waits in the queue. Of any other it counts from now on.
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

// KeyOf returns the key of a session for the kernel.
func KeyOf(s *session.Session) backend.FlowKey {
	k := backend.FlowKey{Endpoint: s.Endpoint, Proto: s.Key.Proto, IPv6: s.Key.IPv6}
	k.Client, k.ClientPort = s.Client()
	k.Server, k.ServerPort = s.Server()
	return k
}

// Segment prepares an offloaded session for a segment that reached the queue nevertheless,
// and reports whether the segment may end it.
func (o *Flows) Segment(s *session.Session, p *packet.Packet, now int64) (ending bool) {
	s.Flags |= session.Away
	if p.Flags&(packet.SYN|packet.FIN|packet.RST) == 0 {
		return false
	}
	if p.Flags&packet.SYN != 0 {
		o.query(s, now) // the connection that this one follows may be closed
	}
	return true
}

// Seen records a frame that reached the queue and that the kernel counted, too.
func (o *Flows) Seen(s *session.Session, n int, now int64) {
	s.Last = now
	if e := o.flows[s.ID]; e != nil {
		e.seen++
		e.seenSize += uint64(n)
	}
}

// query applies the kernel's counts to a session, and its end. A session that the kernel no
// longer has becomes an ordinary one.
func (o *Flows) query(s *session.Session, now int64) (changed bool) {
	e := o.flows[s.ID]
	if e == nil {
		o.removeFlow(s, nil)
		return false
	}
	k := KeyOf(s)
	c, ok := o.kernel.Drain(&k)
	o.asks++
	if !ok {
		o.removeFlow(s, e)
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

// removeFlow makes a session that the kernel no longer has an ordinary one.
func (o *Flows) removeFlow(s *session.Session, e *entry) {
	s.Marks &^= session.Offloaded
	s.Flags |= session.Away
	delete(o.flows, s.ID)
	if e != nil && e.seen > 0 {
		s.Packets[0] += e.seen // their directions are no longer known
		s.Bytes[0] += e.seenSize
	}
	if s.State == flow.PhaseClosing || s.Doubtful() {
		closed(s)
	}
}

// Recount queries the kernel about a session whose timer is due, and returns when to query
// again: 0 if the session is an ordinary one again.
func (o *Flows) Recount(s *session.Session, now int64) (again int64) {
	if o.asks >= asksPerBatch {
		return now + session.Tick
	}
	if s.Verdict == flow.Deny {
		o.Settle(s, now) // all of it reaches the queue
		return 0
	}
	e := o.flows[s.ID]
	changed := o.query(s, now)
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

// Settle applies the kernel's last count to a session that ends here or moves.
func (o *Flows) Settle(s *session.Session, now int64) {
	if s.Marks&session.Offloaded == 0 {
		return
	}
	o.query(s, now)
	delete(o.flows, s.ID)
	s.Marks &^= session.Offloaded
}

// Return ends the offload of a session that is evicted.
func (o *Flows) Return(s *session.Session) {
	if s.Marks&session.Offloaded != 0 && o.kernel != nil {
		k := KeyOf(s)
		o.kernel.Return(&k)
	}
}
