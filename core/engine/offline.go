package engine

import (
	"time"

	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/core/session"
)

// OfflineWorkload is the workload of captured frames; policies for Offline name it.
const OfflineWorkload = "capture"

// offlineEndpoint is its only endpoint.
const offlineEndpoint = 1

// Offline processes captured frames through a path, without a queue: the frames' stamps are
// the clock, tunnel contents are judged instead of the tunnels, and conversations are kept
// longer.
type Offline struct {
	shared path.Shared
	path   *path.Path
	now    int64
}

// NewOffline returns one. t may be nil.
func NewOffline(cfg Config, t *policy.Table, enforce bool) *Offline {
	o := &Offline{}
	if t != nil {
		o.shared.Policy.Store(&path.Policy{Table: t, Generation: 1})
	}
	kind := "tap"
	if enforce {
		kind = "inline"
	}
	o.shared.Endpoints.Store(&path.Endpoints{offlineEndpoint: {ID: offlineEndpoint, Workload: OfflineWorkload, Datapath: kind, Inline: enforce, Fail: packet.Pass}})
	minutes := func(n int) int64 { return int64(time.Duration(n) * time.Minute) }
	pc := path.Config{Shared: &o.shared, Capture: true, Identify: identify.Config{Parsers: cfg.Parsers, Wait: true},
		Session: session.Config{Max: cfg.MaxSessions, Timeouts: session.Timeouts{
			Unanswered: minutes(10), UDP: minutes(10), ICMP: minutes(1),
		}}}
	if cfg.Remote != nil {
		pc.Identify.Remote = cfg.Remote.Remote(func() {})
	}
	o.path = path.New(pc)
	return o
}

// Frame judges one frame. Its Endpoint and Dir are set here.
func (o *Offline) Frame(f *packet.Frame) {
	f.Endpoint, f.Dir = offlineEndpoint, packet.Egress
	f.Flags |= packet.PartialChecksum
	o.now = max(o.now, f.Stamp)
	o.path.Sessions().Advance(o.now)
	o.path.Frame(f)
	o.path.Expire()
}

// Drain passes on the results so far: records and threats, in order.
func (o *Offline) Drain(record func(*flow.Record), threat func(*report.Threat)) {
	r := o.path.Sessions().Report()
	r.Flush()
	r.Outbox().DrainThreats(threat)
	r.Outbox().Drain(record)
}

// Finish ends every session. Drain returns the last records.
func (o *Offline) Finish() { o.path.Sessions().Close() }

// Malformed returns the number of frames that could not be decoded.
func (o *Offline) Malformed() uint64 { return o.path.Sessions().Report().Count(counter.Malformed) }
