package agent

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/engine"
)

const (
	statusEvery = 2 * time.Second
	reportWait  = 2 * time.Second
)

// reporter reports the workloads and the agent's status to the controller: every two seconds, and at
// once after a change. One goroutine runs it.
type reporter struct {
	a    *Agent
	wake chan struct{}

	answers  atomic.Bool  // the controller answered the last report
	reported atomic.Int64 // its last answer, ns since the epoch

	mu        sync.Mutex
	workloads []*controlv1.Workload // nil before all sources are synced
	fresh     bool                  // workloads changed since the last report
	digest    uint64                // of workloads in the last report
	policy    uint64
	errors    map[string]string
	attached  map[string]string
	warnings  []string
}

func newReporter(a *Agent) *reporter { return &reporter{a: a, wake: make(chan struct{}, 1)} }

// notify has the status reported soon. It is safe for concurrent use.
func (r *reporter) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reporter) run(ctx context.Context) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-tick.C:
		}
		err := r.sendReport(ctx, away)
		switch {
		case ctx.Err() != nil:
		case err != nil && !away:
			r.a.log.Warn("controller does not answer", "error", err)
		case err == nil && away:
			r.a.log.Info("controller answers again")
		}
		away = err != nil
	}
}

// report sends workloads, if they changed or again is set, and then status, whose policy version needs the
// workloads.
func (r *reporter) sendReport(ctx context.Context, again bool) error {
	ctx, cancel := context.WithTimeout(ctx, reportWait)
	defer cancel()
	r.mu.Lock()
	list, send := r.workloads, (r.fresh || again) && r.workloads != nil
	if r.fresh {
		r.digest = digestOf(list)
	}
	digest := r.digest
	r.fresh = false
	status := &controlv1.ReportStatusRequest{Node: r.a.cfg.Node, Run: r.a.run, Policy: r.policy, WorkloadErrors: r.errors, Attached: r.attached, Warnings: slices.Concat(r.warnings, r.a.outside(r.workloads)),
		Version: r.a.cfg.Version, Started: r.a.started.UnixNano(), WorkloadsDigest: digest, Held: r.a.guard.state()}
	r.mu.Unlock()
	if refused, _ := r.a.tenure.State(); again || refused != nil {
		granted, err := r.a.tenure.Register(ctx)
		if err != nil {
			return r.failed(err)
		}
		if !granted {
			r.resend()
			r.answers.Store(true)
			return nil // it answers, and accepts no report of this agent
		}
	}
	if send {
		req := &controlv1.ReportWorkloadsRequest{Node: r.a.cfg.Node, Run: r.a.run, Workloads: list, NodeAddresses: nodeAddresses(), Digest: digest}
		if _, err := r.a.cfg.Collector.ReportWorkloads(ctx, req); err != nil {
			r.resend()
			r.a.tenure.Refused(ctx, err)
			return r.failed(err)
		}
	}
	stats := r.a.cfg.Engine.Stats()
	status.Counters, status.State = r.a.counters(stats), r.a.state(stats)
	answer, err := r.a.cfg.Collector.ReportStatus(ctx, status)
	if err != nil {
		r.a.tenure.Refused(ctx, err)
		return r.failed(err)
	}
	r.answers.Store(true)
	r.reported.Store(time.Now().UnixNano())
	r.a.tenure.Rivals(answer.Rivals)
	if answer.ResendWorkloads {
		r.a.log.Info("controller requests the list of workloads again")
		r.resend()
	}
	return nil
}

// failed handles a report that the controller did not accept.
func (r *reporter) failed(err error) error {
	r.answers.Store(false)
	return err
}

// resend adds the list of workloads to the next report.
func (r *reporter) resend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fresh = true
}

// digestOf returns a hash of a list, 0 for none. It is compared with hashes of the same agent only.
func digestOf(list []*controlv1.Workload) uint64 {
	h := fnv.New64a()
	for _, w := range list {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(w)
		if err != nil {
			return 0
		}
		fmt.Fprintf(h, "%d:", len(b))
		h.Write(b)
	}
	return h.Sum64() | 1
}

// counters returns the engine's and the uplink's counters.
func (a *Agent) counters(s engine.Stats) map[string]uint64 {
	c := map[string]uint64{}
	maps.Copy(c, s.Counters)
	maps.Copy(c, a.hosts.watcher.Counters())
	for name, n := range steered(a.cfg.Backend) {
		c["steering."+name] = n
	}
	a.repairs.counters(c)
	u := a.up.Stats()
	maps.Copy(c, u.Counters())
	return c
}

// Counters returns the agent's counters by name. It is safe for concurrent use.
func (a *Agent) Counters() map[string]uint64 { return a.counters(a.cfg.Engine.Stats()) }

// nodeAddresses returns the host's own reachable addresses.
func nodeAddresses() []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []string
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		out = append(out, p.Addr().Unmap().String())
	}
	slices.Sort(out)
	return slices.Compact(out)
}
