package engine

import (
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/core/session"
)

// OfflineWorkload is the workload that captured frames belong to; policies for Offline name it.
const OfflineWorkload = "capture"

// offlineEndpoint is its only endpoint.
const offlineEndpoint = 1

// Offline runs captured frames through the path of a worker, without a queue: the
// frames' stamps are the clock, what tunnels carry is judged instead of the tunnels, and
// conversations are kept longer, since nothing is lost by it.
type Offline struct {
	e *Engine
	w *worker
}

// NewOffline makes one. t may be nil.
func NewOffline(cfg Config, t *policy.Table, enforce bool) *Offline {
	cfg.Now = func() int64 { return 0 }
	e := New(cfg)
	e.table = t
	kind := backend.Tap
	if enforce {
		kind = backend.Inline
	}
	a := &attached{ep: backend.Endpoint{ID: offlineEndpoint, Kind: kind}, workload: OfflineWorkload}
	e.eps[offlineEndpoint] = a
	w := newWorker(e, nil)
	a.workers = []*worker{w}
	e.publish()
	w.refresh()
	minutes := func(n int) int64 { return int64(time.Duration(n) * time.Minute) }
	w.table = session.New(session.Config{Max: cfg.MaxSessions, Evict: w.evicted, Timeouts: session.Timeouts{
		Established: minutes(120), Idle: minutes(120), Unanswered: minutes(10), Answered: minutes(10), ICMP: minutes(1),
	}})
	w.tunnels, w.sync = true, true
	return &Offline{e: e, w: w}
}

// Frame judges one frame. Its Endpoint and Dir are set here.
func (o *Offline) Frame(f *packet.Frame) {
	w := o.w
	f.Endpoint, f.Dir = offlineEndpoint, packet.Egress
	f.Flags |= packet.PartialChecksum
	if f.Stamp > w.now {
		w.now = f.Stamp
	}
	w.frame(f)
	w.table.Expire(w.now, expireBatch, w.expire)
	w.frags.Expire(w.now)
}

// Drain gives what was found so far: records and threats, in order.
func (o *Offline) Drain(record func(*flow.Record), threat func(*report.Threat)) {
	o.w.out.Flush()
	o.w.out.DrainThreats(threat)
	o.w.out.Drain(record)
}

// Finish ends every session. Drain gives the last records.
func (o *Offline) Finish() {
	o.w.endEverything()
	if o.w.remote != nil {
		o.w.remote.Stop()
	}
}

// Malformed is how many frames could not be decoded.
func (o *Offline) Malformed() uint64 { return o.w.count[counter.Malformed] }

// tunnelDepth is how many tunnels one inside the other are opened.
const tunnelDepth = 4

// tunnel judges what p carries, if it is a packet of a tunnel.
func (w *worker) tunnel(v *view, f *packet.Frame, p *packet.Packet) (a packet.Action, inside bool) {
	inner, link, ok := p.Inner()
	if !ok || w.depth == tunnelDepth {
		return packet.Undecided, false
	}
	g := packet.Frame{
		Data: inner, Stamp: f.Stamp, Endpoint: f.Endpoint, Dir: f.Dir, Link: link, Flags: f.Flags,
		Wire: uint32(len(inner) + p.PayloadWire - len(p.Payload)),
	}
	q := new(packet.Packet)
	q.Decode(&g)
	if q.Status != packet.OK && q.Status != packet.Fragment {
		return packet.Undecided, false
	}
	w.depth++
	defer func() { w.depth-- }()
	if q.Status == packet.Fragment {
		return w.fragment(v, &g, q), true
	}
	return w.packet(v, &g, q), true
}
