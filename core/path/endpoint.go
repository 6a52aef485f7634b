// Package path is a worker's packet path: decode, find the session, track, identify, decide,
// act. Each of core/hold, core/handover, core/identify, core/offload and core/sidecar knows
// one thing; path passes values to them and acts on their results. It owns no goroutine,
// never blocks and opens no queue; core/engine does.
package path

import (
	"github.com/sluicenet/sluice/core/counter"
	"sync/atomic"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/sidecar"
)

// Shared is the common state of the paths of one engine. The engine writes it, paths read it.
type Shared struct {
	// Policy is the present policy; nil before the first.
	Policy atomic.Pointer[Policy]
	// Endpoints lists the endpoints; nil before the first.
	Endpoints atomic.Pointer[Endpoints]
	// Owners lists the addresses of the endpoints' workloads; nil before the first.
	Owners atomic.Pointer[Owners]
	// Memory holds the sides of sessions from before a restart; nil without.
	Memory atomic.Pointer[role.Memory]
	// Listening counts changes of the ports on which workloads listen.
	Listening atomic.Uint64
	// IDs numbers sessions.
	IDs atomic.Uint64
	// Tallies are the counters by endpoint.
	Tallies Tallies
}

// Policy is an applied policy. It is immutable.
type Policy struct {
	Table *policy.Table
	// Generation is the mark of frames of flows that may be offloaded; not 0.
	Generation uint32
}

// Endpoints lists endpoints by number. It is immutable.
type Endpoints map[uint32]*Endpoint

// Endpoint is one interface of one workload, as currently attached. It is immutable.
type Endpoint struct {
	ID        uint32
	Workload  string
	Interface string
	Datapath  string        // backend.Endpoint.Datapath
	Inline    bool          // verdicts have effect
	Loopback  bool          // between an application and its sidecar
	Fail      packet.Action // for frames without a verdict
	Sockets   *role.Sockets // of its workload; nil while unknown
	Seed      role.Seed     // of its workload
	Since     int64         // start of observation, ns since the epoch; 0 where everything was seen
	Mesh      *sidecar.Mesh // nil without a sidecar
	Sources   *own.List     // the addresses of its workload; nil: they are not checked
	MAC       [6]byte       // of the interface; zero where it has none
	// Number is the number of its workload in session keys, other than that of any endpoint: all
	// endpoints of a workload have the same, but for the one on lo. 0: it has no other endpoints.
	Number uint32
	// Shares is what it shares with the other endpoints of its workload; nil: there are none.
	Shares *Shares
}

// Shares is an endpoint's part in a workload with several endpoints. It is immutable.
type Shares struct {
	Home     *Path // that has the workload's sessions
	Exit     *Port // of the endpoint's queue
	Enforced bool  // at least one of the workload's endpoints is inline
	Mixed    bool  // they are attached by different datapaths
}

// View is an endpoint under a policy, as one path uses it until either changes.
type View struct {
	*Endpoint
	pol     *policy.Workload // nil before the workload's policy has arrived
	offload bool             // decided flows may be offloaded
	owners  *Owners          // of addresses on this node; nil: unknown
	tally   *tally
	away    bool // the path of its workload is another one
	// workload is number().
	workload uint32
}

// packetContext is one packet being processed, with the results so far.
type packetContext struct {
	v     *View
	f     *packet.Frame
	p     *packet.Packet
	s     *session.Session
	tcp   session.TCPResult
	key   session.Key   // with swapped: of the packet, set by lookUp
	dir   int           // 0 from client to server, 1 back
	cause counter.Cause // why it is not forwarded; valid when it is not
	// parts and last are the frames of a reassembled datagram in order of arrival; last is nil
	// where the packet is a single frame.
	parts   []*packet.Frame
	last    *packet.Frame
	swapped bool
	// elsewhere: the packet is from another address of the workload than the one of its session.
	elsewhere bool
}

// readable reports whether the packet's payload belongs to the stream: within the window, not
// the byte of a keep-alive, and not in a SYN within a connection, which is answered with a
// challenge ACK.
func (c *packetContext) readable() bool {
	if c.p.Proto != packet.ProtoTCP {
		return true
	}
	if c.p.Flags&packet.SYN != 0 && (c.tcp.State != flow.PhaseOpening || c.tcp.Has(session.Challenge)) {
		return false
	}
	return c.tcp.Valid && !c.tcp.Has(session.KeepAlive) && c.p.Flags&packet.RST == 0
}

// stop records why a packet is not forwarded.
func (c *packetContext) stop(why counter.Cause) packet.Action {
	c.cause = why
	return packet.Drop
}

// views are the endpoints under the policy, as one path uses them.
type views struct {
	shared    *Shared
	path      *Path // whose they are
	kernel    bool  // flows of the queue can be offloaded
	force     *Policy
	version   uint64 // of force; 0 without
	listening uint64 // Shared.Listening at the last refresh
	ends      *Endpoints
	list      map[uint32]*View // of endpoints with frames or sessions since force and ends changed
}

func (w *views) init(s *Shared, kernel bool, of *Path) {
	w.shared, w.kernel, w.path, w.list = s, kernel, of, map[uint32]*View{}
	w.refresh()
}

// refresh loads the newest policy and endpoints, and reports whether either changed, and whether
// sessions must be judged again: by another version, or because workloads listen on other ports.
func (w *views) refresh() (changed, judge bool) {
	listening := w.shared.Listening.Load() // loaded before the endpoints, which then include what it counts
	force, ends := w.shared.Policy.Load(), w.shared.Endpoints.Load()
	if force == w.force && ends == w.ends {
		return false, false
	}
	before, moved := w.version, w.listening != listening
	w.listening = listening
	w.force, w.ends, w.version = force, ends, 0
	if force != nil && force.Table != nil {
		w.version = force.Table.Version()
	}
	clear(w.list)
	return true, w.version != before || moved
}

// view returns an endpoint under the policy; nil if the path has no such endpoint.
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
	v := &View{Endpoint: e, workload: e.number(), owners: w.shared.Owners.Load(), away: e.Shares != nil && e.Shares.Home != w.path}
	if w.force != nil && w.force.Table != nil {
		v.pol = w.force.Table.Workload(e.Workload)
	}
	// Flows of a group that fails closed are not offloaded: their packets must not bypass a
	// worker that may be dead.
	v.offload = w.kernel && e.Inline && v.pol != nil && e.Fail == packet.Pass && (e.Shares == nil || !e.Shares.Mixed)
	v.tally = w.shared.Tallies.of(w, id, tallyKey{e.Workload, e.Interface, e.Datapath})
	w.list[id] = v
	return v
}

// stamp returns a frame's time, or now where the backend gave none.
func stamp(f *packet.Frame, now int64) int64 {
	if f.Stamp != 0 {
		return f.Stamp
	}
	return now
}
