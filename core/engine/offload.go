package engine

import (
	"context"
	"errors"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// Which flows pass in the kernel, and how often it is asked about them.
const (
	offloadAfter = 24 // packets, so that short connections cost nothing

	asksPerBatch = 256          // questions between two batches
	askCost      = int64(100e3) // ns between two questions about one of many flows, for each of them
	maxQuiet     = int64(16e9)  // ns between two questions about a flow that carries nothing
)

// kernelFlow is what a worker remembers of a session that may pass in the kernel.
type kernelFlow struct {
	packets, bytes [2]uint64 // what the session had that the kernel has not counted; may be "negative"
	seen, seenSize uint64    // frames that came here all the same since the kernel was asked last
	quiet          int64     // ns until it is asked again
}

// offload lets a flow leave the queue whose verdict cannot become another one while policy stays
// as it is: its frame carries the mark by which it does. From then on the kernel counts it.
func (w *worker) offload(l *look) {
	s := l.s
	if !l.v.offload || w.rebuilding || s.Packets[0]+s.Packets[1] < offloadAfter || !w.decided(l.v, s) {
		return
	}
	if s.Flags&flagOffloaded == 0 && !w.departs(s) {
		return
	}
	l.f.Verdict.Mark = w.snap.marks
}

// decided says that nothing but another policy can change what becomes of a session, and that
// nobody reads it any more. DNS is read to its end, as each answer may say where a name leads.
func (w *worker) decided(v *view, s *session.Session) bool {
	switch {
	case s.Key.Proto != packet.ProtoTCP && s.Key.Proto != packet.ProtoUDP, s.Aux != 0, s.State.Over(), s.State == flow.PhaseClosing:
		return false
	case w.awaits(v, s), app.ID(s.App) == app.DNS, app.ID(s.Base) == app.DNS, app.ID(s.App) == app.MDNS:
		return false
	}
	reason := flow.Reason(s.Reason)
	return flow.Verdict(s.Verdict).Passes() && reason != flow.ByUnready && reason != flow.ByFailOpen
}

// departs prepares a session to pass in the kernel; false where it has to stay.
func (w *worker) departs(s *session.Session) bool {
	k := w.flowKey(s)
	c, ok := w.kernel.Offload(&k)
	if !ok {
		s.Flags |= session.Stays
		return false
	}
	o := &kernelFlow{quiet: updateEvery}
	// The kernel has counted a connection that it saw from its first packet on right, and what waits in the
	// queue as well. Of any other it counts what comes from now on.
	if s.Flags&session.Midstream != 0 || c.Packets[0] < s.Packets[0] || c.Packets[1] < s.Packets[1] {
		for d := range o.packets {
			o.packets[d], o.bytes[d] = s.Packets[d]-c.Packets[d], s.Bytes[d]-c.Bytes[d]
		}
	}
	if w.flows == nil {
		w.flows = map[uint64]*kernelFlow{}
	}
	w.flows[s.ID] = o
	s.Flags |= flagOffloaded
	w.count[counter.Offloaded]++
	return true
}

// flowKey names a session to the kernel.
func (w *worker) flowKey(s *session.Session) backend.FlowKey {
	k := backend.FlowKey{Endpoint: s.Key.Endpoint, Proto: s.Key.Proto, IPv6: s.Key.IPv6}
	k.Client, k.ClientPort = s.Client()
	k.Server, k.ServerPort = s.Server()
	return k
}

// glimpse prepares a session that passes in the kernel for a segment of it that came here.
func (w *worker) glimpse(l *look) {
	s := l.s
	s.Flags |= session.Away
	if l.p.Flags&(packet.SYN|packet.FIN|packet.RST) == 0 {
		return
	}
	if l.p.Flags&packet.SYN != 0 {
		w.ask(s) // the connection that this one follows may be over
	}
	w.table.Schedule(s, w.stamp(l.f)+endAfter)
	s.Flags &^= flagIdle
}

// seen takes note of a frame that the kernel has counted.
func (w *worker) seen(s *session.Session, n int, now int64) {
	s.Last = now
	if o := w.flows[s.ID]; o != nil {
		o.seen++
		o.seenSize += uint64(n)
	}
}

// ask takes what the kernel counted into a session, and whether it is over. A session that the kernel
// knows no more is one like any other.
func (w *worker) ask(s *session.Session) (changed bool) {
	o := w.flows[s.ID]
	k := w.flowKey(s)
	c, ok := w.kernel.Drain(&k)
	w.asks++
	if !ok {
		w.forgetFlow(s, o)
		return false
	}
	for d := range c.Packets {
		packets, bytes := c.Packets[d]+o.packets[d]-s.Packets[d], c.Bytes[d]+o.bytes[d]-s.Bytes[d]
		if int64(packets) <= 0 || int64(bytes) < 0 {
			continue
		}
		changed = true
		s.Packets[d] += packets
		s.Bytes[d] += bytes
		w.count[counter.OffloadedPackets] += packets
		w.count[counter.OffloadedBytes] += bytes
	}
	if changed {
		s.Last = w.now
		w.count[counter.OffloadedPackets] -= min(o.seen, w.count[counter.OffloadedPackets])
		w.count[counter.OffloadedBytes] -= min(o.seenSize, w.count[counter.OffloadedBytes])
		o.seen, o.seenSize = 0, 0
	}
	if c.Over && s.Key.Proto == packet.ProtoTCP && !s.State.Over() {
		w.closed(s)
	}
	return changed
}

// closed ends a connection that the kernel saw end.
func (w *worker) closed(s *session.Session) {
	if s.Doubtful() {
		s.State = flow.PhaseReset
	} else {
		s.State = flow.PhaseClosed
	}
	s.Flags |= flagChanged
}

// forgetFlow makes a session that the kernel knows no more one like any other.
func (w *worker) forgetFlow(s *session.Session, o *kernelFlow) {
	s.Flags = s.Flags&^flagOffloaded | session.Away
	delete(w.flows, s.ID)
	if o != nil && o.seen > 0 {
		s.Packets[0] += o.seen // which way they went is not known any more
		s.Bytes[0] += o.seenSize
	}
	if s.State == flow.PhaseClosing || s.Doubtful() {
		w.closed(s)
	}
}

// recount asks the kernel about a session whose timer came, and says when to ask again: 0 if the
// session is to be looked after as any other.
func (w *worker) recount(s *session.Session) (again int64) {
	if w.asks >= asksPerBatch {
		return w.now + session.Tick
	}
	if flow.Verdict(s.Verdict) == flow.Deny {
		w.settleCount(s) // all of it comes here
		return 0
	}
	o := w.flows[s.ID]
	changed := w.ask(s)
	switch {
	case s.Flags&flagOffloaded == 0, s.State.Over():
		return 0
	case changed || s.State == flow.PhaseClosing:
		o.quiet = max(updateEvery, int64(len(w.flows))*askCost)
	default:
		o.quiet = min(2*o.quiet, max(maxQuiet, int64(len(w.flows))*askCost))
	}
	return w.now + o.quiet
}

// settleCount takes the last word of the kernel into a session.
func (w *worker) settleCount(s *session.Session) {
	w.ask(s)
	delete(w.flows, s.ID)
	s.Flags &^= flagOffloaded
}

// open attaches an endpoint, with the present generation as that of its queues. The caller holds mu.
func (e *Engine) open(ctx context.Context, be backend.Backend, ep backend.Endpoint) (backend.Attachment, error) {
	att, err := be.Attach(ctx, ep)
	if err != nil {
		return nil, err
	}
	if err := e.recall(att); err != nil {
		return nil, errors.Join(err, att.Close())
	}
	return att, nil
}

// Stays says why no decided flow of an endpoint can leave its queues and pass in the kernel; "" where
// they can, and where the endpoint has no queues of that kind.
func (e *Engine) Stays(endpoint uint32) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := e.eps[endpoint]
	if a == nil {
		return ""
	}
	r, ok := a.att.(backend.Recaller)
	switch {
	case !ok:
		return ""
	case a.ep.Fail == backend.FailClosed:
		return "its group fails closed"
	}
	return r.Stays()
}

// recall makes the present generation that of an attachment's queues. The caller holds mu.
func (e *Engine) recall(att backend.Attachment) error {
	if r, ok := att.(backend.Recaller); ok && e.marks != 0 {
		return r.Recall(e.marks)
	}
	return nil
}

// recallAll brings the flows of every endpoint back that pass in the kernel. Where that fails, a flow might
// pass that must not any more: such an endpoint is attached anew. The caller holds mu.
func (e *Engine) recallAll() {
	lost := false
	for id, a := range e.eps {
		if err := e.recall(a.att); err != nil {
			e.cfg.Logger.Error("flows not recalled; endpoint is attached anew", "workload", a.workload, "interface", a.ep.Interface, "error", err)
			for _, w := range a.workers {
				w.do(func() { w.endAll(id) })
			}
			e.lose(id, a)
			lost = true
		}
	}
	if lost {
		e.publish()
	}
}
