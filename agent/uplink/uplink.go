// Package uplink carries what the engine tells to the controller: it drains records, merges
// those of one session and those of one kind, and sends them with sequence numbers until they
// are acknowledged. Memory is bounded; what cannot be kept is counted by cause. It judges
// nothing and learns nothing.
package uplink

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/report"
)

// Records is where records come from; the uplink's goroutine alone calls it.
type Records interface {
	Drain(fn func(*report.Flow)) int
	Threats(fn func(*report.Threat)) int
}

// Config is what an uplink needs. Records, Collector, Workload, Node and Boot are required.
type Config struct {
	Records   Records
	Collector controlv1.CollectorClient
	Node      string
	Boot      string // one life of the agent
	// Workload names the workload of an endpoint, "" if it is not known. The uplink's goroutine calls it.
	Workload func(endpoint uint32) string
	// Interval is how often records are taken and sent; 200 ms if 0.
	Interval time.Duration
	// MaxKinds bounds the kinds of connection that wait for the collector; 100,000 if 0.
	MaxKinds int
	// Flush is how long Run may go on sending after its context ended; 1.5 s if 0.
	Flush  time.Duration
	Logger *slog.Logger
}

// Stats are counters since New.
type Stats struct {
	Records  uint64 // taken from the engine
	Sent     uint64 // connections acknowledged by the collector
	Requests uint64 // requests acknowledged
	Retries  uint64 // attempts that were not acknowledged
	Dropped  uint64 // records that could not be kept
}

// Uplink is one agent's way to the collector.
type Uplink struct {
	cfg  Config
	agg  *aggregate
	out  chan []*controlv1.ReportConnectionsRequest
	busy atomic.Bool // the sender has something to send
	seq  uint64      // of the last request; the main goroutine's
	stat struct{ records, sent, requests, retries, dropped atomic.Uint64 }
}

// New makes an uplink; Run does the work.
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
	return &Uplink{cfg: cfg, agg: newAggregate(cfg.MaxKinds, cfg.Workload), out: make(chan []*controlv1.ReportConnectionsRequest, 1)}
}

// Stats may be called from any goroutine.
func (u *Uplink) Stats() Stats {
	return Stats{Records: u.stat.records.Load(), Sent: u.stat.sent.Load(), Requests: u.stat.requests.Load(),
		Retries: u.stat.retries.Load(), Dropped: u.stat.dropped.Load()}
}

// Run takes and sends until ctx ends, then sends what is left for at most Flush.
func (u *Uplink) Run(ctx context.Context) {
	sendCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for batch := range u.out {
			u.send(sendCtx, batch)
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
		u.take(false)
		u.offer()
	}
	stop := time.AfterFunc(u.cfg.Flush, cancel)
	defer stop.Stop()
	u.take(true)
	if batch := u.batch(); batch != nil {
		u.out <- batch
	}
	close(u.out)
	<-sent
}

// take drains the engine into the aggregate. With all, sessions that were held back
// to be decided first are given up as well.
func (u *Uplink) take(all bool) {
	u.cfg.Records.Threats(u.agg.threat)
	n := u.cfg.Records.Drain(u.agg.flow)
	u.agg.fold(all)
	u.stat.records.Add(uint64(n))
	u.stat.dropped.Store(u.agg.lost)
}

// offer gives the sender what waits, if the sender is free; else it goes on being merged:
// a request that was made is never changed again.
func (u *Uplink) offer() {
	if u.busy.Load() {
		return
	}
	if batch := u.batch(); batch != nil {
		u.busy.Store(true)
		u.out <- batch
	}
}

// batch turns what waits into requests with numbers; nil if nothing waits.
func (u *Uplink) batch() []*controlv1.ReportConnectionsRequest {
	if u.agg.empty() {
		return nil
	}
	rs := u.agg.requests()
	for _, r := range rs {
		u.seq++
		r.Node, r.Boot, r.Sequence = u.cfg.Node, u.cfg.Boot, u.seq
	}
	return rs
}

const (
	firstWait = 50 * time.Millisecond
	lastWait  = time.Second
	attempt   = 2 * time.Second
)

// send sends requests in order, each until it is acknowledged or ctx ends.
func (u *Uplink) send(ctx context.Context, batch []*controlv1.ReportConnectionsRequest) {
	for i, r := range batch {
		wait := firstWait
		for {
			err := u.try(ctx, r)
			if err == nil {
				break
			}
			u.stat.retries.Add(1)
			if ctx.Err() != nil {
				u.cfg.Logger.Warn("reports lost at the end", "requests", len(batch)-i)
				return
			}
			if wait == firstWait {
				u.cfg.Logger.Warn("report not taken, trying again", "sequence", r.Sequence, "error", err)
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			wait = min(2*wait, lastWait)
		}
	}
}

func (u *Uplink) try(ctx context.Context, r *controlv1.ReportConnectionsRequest) error {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	_, err := u.cfg.Collector.ReportConnections(ctx, r)
	if status.Code(err) == codes.InvalidArgument {
		// It would be refused for ever; later reports must not wait behind it.
		u.cfg.Logger.Error("report refused", "sequence", r.Sequence, "connections", len(r.Connections), "error", err)
		return nil
	}
	if err == nil {
		u.stat.requests.Add(1)
		u.stat.sent.Add(uint64(len(r.Connections)))
	}
	return err
}
