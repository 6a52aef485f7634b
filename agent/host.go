package agent

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/sluicenet/sluice/agent/hostmode"
	"github.com/sluicenet/sluice/agent/uplink"
	"github.com/sluicenet/sluice/core/flow"
)

// sockets is the name under which a workload in the host's network has its endpoint number.
const sockets = "sockets"

// records are the engine's and those of the host's sockets.
type records struct {
	uplink.Records
	a *Agent
}

// Drain calls fn for every queued record and returns their number.
func (r records) Drain(fn func(*flow.Record)) int {
	return r.Records.Drain(func(f *flow.Record) {
		r.a.unjudged.record(f)
		fn(f)
	}) + r.a.hosts.watcher.Drain(func(f *flow.Record) {
		r.a.hosts.traffic.add(r.a.names.workload(f.Endpoint), f)
		fn(f)
	})
}

// hostNetwork watches the workloads in the host's network. It belongs to Run's goroutine, except for peer,
// traffic and what the watcher allows.
type hostNetwork struct {
	watcher *hostmode.Watcher
	names   *endpointNames
	traffic hostTraffic // of their sockets
	watched map[string]hostmode.Workload
}

func newHostNetwork(log *slog.Logger, names *endpointNames) *hostNetwork {
	return &hostNetwork{watcher: hostmode.New(hostmode.Config{Logger: log}), names: names}
}

// peer returns the workload in the host's network at the other end of a workload's connection, and its
// process: the workload sees the host's address only.
func (h *hostNetwork) peer(f *flow.Record) (string, *flow.Detail) {
	p, _ := h.watcher.Peer(f)
	return p.Workload, p.Detail
}

// update updates which workloads in the host's network have their sockets watched.
func (h *hostNetwork) update(workloads map[string]*tracked, ids *endpointIDs) {
	now := map[string]hostmode.Workload{}
	for id, t := range workloads {
		if t.HostNet {
			now[id] = hostmode.Workload{ID: id, Endpoint: ids.of(id, sockets), NetNS: t.NetNS, Containers: t.Containers}
		}
	}
	same := func(x, y hostmode.Workload) bool {
		return x.ID == y.ID && x.Endpoint == y.Endpoint && x.NetNS == y.NetNS && slices.Equal(x.Containers, y.Containers)
	}
	if maps.EqualFunc(now, h.watched, same) {
		return
	}
	list := make([]hostmode.Workload, 0, len(now))
	for id, x := range now {
		h.names.add(x.Endpoint, id)
		list = append(list, x)
	}
	h.watcher.Watch(list)
	for id, x := range h.watched {
		if _, still := now[id]; !still {
			h.names.remove(x.Endpoint, time.Now())
			h.traffic.forget(id)
		}
	}
	h.watched = now
}

// settled reports whether all workloads in the host's network are watched.
func (h *hostNetwork) settled() bool {
	if len(h.watched) == 0 {
		return true
	}
	select {
	case <-h.watcher.Settled():
		return true
	default:
		return false
	}
}

// notes returns the notes on a whole workload.
func (h *hostNetwork) notes(t *tracked) []string {
	if n := h.watcher.Note(); t.HostNet && n != "" {
		return []string{n}
	}
	return nil
}
