// Package uplink reports the engine's records to the controller: it drains records, merges those of one
// session and those of one kind, and sends them with sequence numbers until they are acknowledged. With a
// spool folder, unacknowledged requests are on disk too, and the agent's next run sends them if this one
// is killed. Memory is bounded; dropped records are counted by cause. It judges nothing and learns nothing.
package uplink

import (
	"context"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/internal/backoff"
)

// Records is the source of records. Only the uplink's goroutine calls it.
type Records interface {
	Drain(fn func(*flow.Record)) int
	Threats(fn func(*report.Threat)) int
}

// Config is what an uplink needs. Records, Collector, Workload, Node and Run are required.
type Config struct {
	Records   Records
	Collector controlv1.CollectorClient
	Node      string
	Run       string // of the agent: unique for each start
	// Workload returns the workload of an endpoint, "" if it is not known. The uplink's goroutine calls it.
	Workload func(endpoint uint32) string
	// Peer returns the workload in the node's own network at the other end of a connection, and its
	// process; "" if unknown. It may be nil. The uplink's goroutine calls it.
	Peer func(*flow.Record) (string, *flow.Detail)
	// Server replaces the destination of a record by where its connection goes, where that is
	// translated beyond the workload, and returns the destination as an attribute; nil for others. It may
	// be nil. The uplink's goroutine calls it.
	Server func(*flow.Record) *flow.Detail
	// Interval is the time between requests; 200 ms if 0.
	Interval time.Duration
	// MaxKinds bounds the kinds of connection queued for the collector; 100,000 if 0.
	MaxKinds int
	// Spool is the folder that stores unsent reports; "" stores none.
	Spool string
	// Living is the file of open sessions, so that the agent's next run does not count them again; "" for none.
	Living string
	// Flush is how long Run may continue sending after its context ended; 1.5 s if 0.
	Flush  time.Duration
	Logger *slog.Logger
}

// Stats are counters since New.
type Stats struct {
	Records  uint64 // drained from the engine
	Sent     uint64 // connections acknowledged by the collector
	Requests uint64 // requests acknowledged
	Retries  uint64 // attempts that were not acknowledged
	Dropped  uint64 // dropped records
	// Lost is the same by cause.
	Lost map[string]uint64
	// Backlog is the number of unsent sessions, kinds of connection, threats and rows of unjudged frames.
	Backlog uint64
	// Acknowledged is the time of the last acknowledgement, ns since the epoch; 0 for none.
	Acknowledged int64
}

// Counters returns the totals by name, as core/counter describes them.
func (s *Stats) Counters() map[string]uint64 {
	return map[string]uint64{"uplink.records": s.Records, "uplink.sent": s.Sent, "uplink.requests": s.Requests, "uplink.retries": s.Retries, "uplink.dropped": s.Dropped}
}

// Uplink sends one agent's reports to the collector.
type Uplink struct {
	cfg  Config
	agg  *aggregate // since the last tick
	out  chan *batch
	busy atomic.Bool // the sender has something to send

	unjudged unjudgedBox
	outcomes outcomeBox
	stat     struct {
		records, sent, requests, retries, dropped, waiting, onWay atomic.Uint64
		taken                                                     atomic.Int64
		lost                                                      atomic.Pointer[map[string]uint64] // not changed
	}

	opened bool // by Open

	// The fields below belong to Run's goroutine.
	pending *aggregate // queued for the sender, older than agg
	seq     uint64     // the number of the last request
	spool   *spool     // nil for none
	parts   parts      // the files of pending in the spool
	left    []segment  // files of previous runs; the sender's from Run on
}

// batch is a list of numbered requests, and their file, nil for none.
type batch struct {
	requests []*controlv1.ReportConnectionsRequest
	file     *segment
}

// New returns an uplink, which Run runs.
func New(cfg Config) *Uplink {
	if cfg.Interval == 0 {
		cfg.Interval = 200 * time.Millisecond
	}
	if cfg.MaxKinds == 0 {
		cfg.MaxKinds = 100_000
	}
	if cfg.Flush == 0 {
		cfg.Flush = 1500 * time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	u := &Uplink{cfg: cfg, agg: newAggregate(cfg.MaxKinds, cfg.Workload), pending: newAggregate(cfg.MaxKinds, cfg.Workload), out: make(chan *batch, 1)}
	u.agg.peer, u.agg.server, u.agg.ended = cfg.Peer, cfg.Server, u.outcomes.add
	return u
}

// Open opens the files on disk, if Run is not to. A caller whose folder another process may still use
// calls it after locking the folder.
func (u *Uplink) Open() {
	if u.opened {
		return
	}
	u.opened = true
	cfg := &u.cfg
	if cfg.Spool != "" {
		var err error
		if u.spool, u.left, err = openSpool(cfg.Spool, cfg.Logger); err != nil {
			cfg.Logger.Error("unsent reports not on disk", "error", err)
		}
	}
	if cfg.Living != "" {
		var err error
		if u.agg.living, err = openSessionsFile(cfg.Living, cfg.Logger); err != nil {
			cfg.Logger.Error("open sessions are counted again after a restart", "error", err)
		}
	}
}

// Sides returns which ends are the clients of the sessions that were open at the end of the previous
// run; nil without Config.Living. It must be called before Run.
func (u *Uplink) Sides() *role.Memory {
	u.Open()
	if u.agg.living == nil {
		return nil
	}
	return u.agg.living.sides()
}

// Leave marks that the agent releases its workloads: sessions that end from now on may continue without it.
func (u *Uplink) Leave() {
	if u.agg.living != nil {
		u.agg.living.left.Store(true)
	}
}

// Stats returns the counters. It is safe for concurrent use.
func (u *Uplink) Stats() Stats {
	s := Stats{Records: u.stat.records.Load(), Sent: u.stat.sent.Load(), Requests: u.stat.requests.Load(),
		Retries: u.stat.retries.Load(), Dropped: u.stat.dropped.Load(), Backlog: u.stat.waiting.Load() + u.stat.onWay.Load(), Acknowledged: u.stat.taken.Load()}
	if lost := u.stat.lost.Load(); lost != nil {
		s.Lost = maps.Clone(*lost)
	}
	return s
}

// Run drains and sends records until ctx ends, then sends the remaining ones for at most Flush.
func (u *Uplink) Run(ctx context.Context) {
	u.Open()
	sendCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	sent := make(chan struct{})
	u.busy.Store(len(u.left) > 0)
	go func() {
		defer close(sent)
		u.sendLeft(sendCtx)
		u.busy.Store(false)
		for b := range u.out {
			u.send(sendCtx, b)
			u.busy.Store(false)
		}
	}()
	tick := time.NewTicker(u.cfg.Interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			continue
		}
		u.drainRecords(false)
		u.offer()
		u.agg.living.flush()
	}
	stop := time.AfterFunc(u.cfg.Flush, cancel)
	defer stop.Stop()
	u.drainRecords(true)
	if b := u.batch(); b != nil {
		u.out <- b
	}
	close(u.out)
	u.agg.living.close()
	<-sent
}

// drainRecords drains the engine into the aggregate. With all, delayed sessions are folded as well.
func (u *Uplink) drainRecords(all bool) {
	u.cfg.Records.Threats(u.agg.threat)
	n := u.cfg.Records.Drain(u.agg.record)
	u.unjudged.drain(u.agg)
	u.agg.fold(all)
	u.stat.records.Add(uint64(n))
	u.stat.waiting.Store(u.agg.backlog() + u.pending.backlog())
	if lost := u.agg.lost + u.pending.lost; lost != u.stat.dropped.Load() {
		u.stat.dropped.Store(lost)
		by := maps.Clone(u.agg.causes)
		for cause, n := range u.pending.causes {
			by[cause] += n
		}
		u.stat.lost.Store(&by)
	}
}

// offer passes pending to the sender if that is free; else merging continues, because a request is never
// changed once it has a number.
func (u *Uplink) offer() {
	if u.busy.Load() {
		u.keepNew()
		return
	}
	if b := u.batch(); b != nil {
		u.busy.Store(true)
		u.out <- b
	}
}

// batch returns pending as numbered requests; nil if there are none.
func (u *Uplink) batch() *batch {
	u.pending.absorb(u.agg)
	if u.pending.empty() {
		return nil
	}
	b := &batch{requests: u.pending.pack()}
	first, last := u.number(b.requests)
	b.file = u.replace(first, last, b.requests)
	u.pending.reset()
	u.parts = parts{}
	return b
}

// number numbers requests: with the numbers of the files that they replace, if the spool has any.
func (u *Uplink) number(rs []*controlv1.ReportConnectionsRequest) (first, last uint64) {
	first = u.seq + 1
	if u.parts.first != 0 {
		first = u.parts.first
	}
	for i, r := range rs {
		r.Node, r.Run, r.Sequence = u.cfg.Node, u.cfg.Run, first+uint64(i)
		u.seq = max(u.seq, r.Sequence)
	}
	return first, u.seq
}

const (
	firstWait = 50 * time.Millisecond
	lastWait  = time.Second
	attempt   = 2 * time.Second
)

// sendLeft sends the files of previous runs.
func (u *Uplink) sendLeft(ctx context.Context) {
	for i := range u.left {
		g := &u.left[i]
		rs, err := g.read()
		if err != nil {
			u.cfg.Logger.Error("unsent reports of a previous run corrupt, rest lost", "readable", len(rs), "error", err)
		}
		if i == 0 {
			u.cfg.Logger.Info("sending reports of a previous run", "files", len(u.left))
		}
		u.send(ctx, &batch{rs, g})
		if ctx.Err() != nil {
			return
		}
	}
}

// send sends requests in order, each until it is acknowledged or ctx ends.
func (u *Uplink) send(ctx context.Context, b *batch) {
	defer u.stat.onWay.Store(0)
	for i, r := range b.requests {
		u.stat.onWay.Store(backlog(b.requests[i:]))
		again := backoff.Backoff{First: firstWait, Last: lastWait}
		for first := true; ; first = false {
			err := u.try(ctx, r)
			if err == nil {
				break
			}
			u.stat.retries.Add(1)
			if ctx.Err() != nil {
				if b.file == nil {
					lost := backlog(b.requests[i:])
					u.stat.dropped.Add(lost)
					u.cfg.Logger.Warn("reports lost at shutdown", "requests", len(b.requests)-i, "records", lost, "error", err)
				} else {
					u.cfg.Logger.Info("reports kept for the next start", "requests", len(b.requests)-i)
				}
				return
			}
			if first {
				u.cfg.Logger.Warn("report not acknowledged, retrying", "sequence", r.Sequence, "error", err)
			}
			again.Wait(ctx)
		}
	}
	if u.spool != nil {
		u.spool.remove(b.file)
	}
}

// backlog returns the number of records in requests.
func backlog(rs []*controlv1.ReportConnectionsRequest) (n uint64) {
	for _, r := range rs {
		n += uint64(len(r.Connections) + len(r.Threats) + len(r.Unjudged))
	}
	return n
}

func (u *Uplink) try(ctx context.Context, r *controlv1.ReportConnectionsRequest) error {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	r.Sender = u.cfg.Run // it may be of a previous run
	_, err := u.cfg.Collector.ReportConnections(ctx, r)
	if status.Code(err) == codes.InvalidArgument {
		// It would always be refused, and block later reports.
		u.cfg.Logger.Error("report refused", "sequence", r.Sequence, "connections", len(r.Connections), "error", err)
		return nil
	}
	if err == nil {
		u.stat.requests.Add(1)
		u.stat.taken.Store(time.Now().UnixNano())
		u.stat.sent.Add(uint64(len(r.Connections)))
	}
	return err
}
