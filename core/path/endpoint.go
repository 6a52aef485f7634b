// Package path is the way of a frame through one worker: decode, find the session, track,
// identify, decide, act. It has the rooms that know one thing each (core/hold,
// core/handover, core/identify, core/offload, core/sidecar), gives them values and acts on
// what they return. It owns no goroutine, waits for nothing and opens no queue; core/engine
// does.
package path

import (
	"github.com/sluicenet/sluice/core/counter"
	"sync/atomic"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/sidecar"
)

// Shared is what the paths of one engine have in common. The engine writes it, paths read it.
type Shared struct {
	// Policy is what is in force; nil before the first.
	Policy atomic.Pointer[Policy]
	// Endpoints lists the endpoints; nil before the first.
	Endpoints atomic.Pointer[Endpoints]
	// IDs numbers sessions.
	IDs atomic.Uint64
	// Tallies are the counters by endpoint.
	Tallies Tallies
}

// Policy is a policy in force. It is immutable.
type Policy struct {
	Table *policy.Table
	// Generation is carried by frames of flows that may pass in the kernel; not 0.
	Generation uint32
}

// Listener is a listening socket of a workload.
type Listener struct {
	Proto uint8
	Port  uint16
}

// Endpoints lists endpoints by number. It is immutable.
type Endpoints map[uint32]*Endpoint

// Endpoint is one interface of one workload, as it is attached now. It is immutable.
type Endpoint struct {
	ID        uint32
	Workload  string
	Interface string
	Datapath  string        // backend.Endpoint.Way
	Inline    bool          // verdicts act
	Loopback  bool          // between an application and its sidecar
	Fail      packet.Action // for frames without a verdict
	Listeners map[Listener]bool
	Since     int64         // what was said before was not seen, ns since the epoch; 0 where everything was
	Mesh      *sidecar.Mesh // nil without a sidecar
}

// View is an endpoint under a policy, as one path sees it until one of the two changes.
type View struct {
	*Endpoint
	pol     *policy.Workload // nil before the workload's policy has come
	offload bool             // decided flows may pass in the kernel
	tally   *tally
}

// packetContext is one packet on its way, with what was found of it.
type packetContext struct {
	v     *View
	f     *packet.Frame
	p     *packet.Packet
	s     *session.Session
	tcp   session.TCPResult
	dir   int           // 0 from client to server, 1 back
	cause counter.Cause // why it does not go on; valid when it does not
	// parts and last are the frames of a datagram that was put together, in the order of their
	// coming; last is nil where the packet is one frame's.
	parts []*packet.Frame
	last  *packet.Frame
}

// readable reports whether the packet's payload belongs to the stream: within the window, and
// no keep-alive's byte of rubbish.
func (c *packetContext) readable() bool {
	return c.p.Proto != packet.ProtoTCP || c.tcp.Valid && !c.tcp.Has(session.KeepAlive)
}

// stop records why a packet does not go on.
func (c *packetContext) stop(why counter.Cause) packet.Action {
	c.cause = why
	return packet.Drop
}

// views are the endpoints under the policy, as one path sees them.
type views struct {
	shared  *Shared
	kernel  bool // flows can leave the queue
	force   *Policy
	version uint64 // of force; 0 without
	ends    *Endpoints
	list    map[uint32]*View // of endpoints that frames or sessions came from since force and ends
}

func (w *views) init(s *Shared, kernel bool) {
	w.shared, w.kernel, w.list = s, kernel, map[uint32]*View{}
	w.refresh()
}

// refresh takes the newest policy and endpoints, and reports whether the policy's version is another.
func (w *views) refresh() (judge bool) {
	force, ends := w.shared.Policy.Load(), w.shared.Endpoints.Load()
	if force == w.force && ends == w.ends {
		return false
	}
	before := w.version
	w.force, w.ends, w.version = force, ends, 0
	if force != nil && force.Table != nil {
		w.version = force.Table.Version()
	}
	clear(w.list)
	return w.version != before
}

// view returns an endpoint under the policy; nil if the path has none of that number.
func (w *views) view(id uint32) *View {
	if v := w.list[id]; v != nil {
		return v
	}
	if w.ends == nil {
		return nil
	}
	e := (*w.ends)[id]
	if e == nil {
		return nil
	}
	v := &View{Endpoint: e}
	if w.force != nil && w.force.Table != nil {
		v.pol = w.force.Table.Workload(e.Workload)
	}
	// A group that would rather stop than go unwatched does not go past a worker that may be dead.
	v.offload = w.kernel && e.Inline && v.pol != nil && e.Fail == packet.Pass
	v.tally = w.shared.Tallies.of(w, id, tallyKey{e.Workload, e.Interface, e.Datapath})
	w.list[id] = v
	return v
}

// stamp is a frame's time, or now where the backend gave none.
func stamp(f *packet.Frame, now int64) int64 {
	if f.Stamp != 0 {
		return f.Stamp
	}
	return now
}
