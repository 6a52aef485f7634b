package agent

import (
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
	}) + r.a.host.Drain(func(f *flow.Record) {
		r.a.sockets.add(r.a.names.workload(f.Endpoint), f)
		fn(f)
	})
}

// peer returns the workload in the host's network at the other end of a workload's connection, and its
// process: the workload sees the host's address only.
func (a *Agent) peer(f *flow.Record) (string, *flow.Detail) {
	p, _ := a.host.Peer(f)
	return p.Workload, p.Detail
}

// watchHost updates which workloads in the host's network have their sockets watched.
func (a *Agent) watchHost() {
	now := map[string]hostmode.Workload{}
	for id, t := range a.workloads {
		if t.HostNet {
			now[id] = hostmode.Workload{ID: id, Endpoint: a.endpointID(id, sockets), NetNS: t.NetNS, Containers: t.Containers}
		}
	}
	same := func(x, y hostmode.Workload) bool {
		return x.ID == y.ID && x.Endpoint == y.Endpoint && x.NetNS == y.NetNS && slices.Equal(x.Containers, y.Containers)
	}
	if maps.EqualFunc(now, a.hosted, same) {
		return
	}
	list := make([]hostmode.Workload, 0, len(now))
	for id, x := range now {
		a.names.add(x.Endpoint, id)
		list = append(list, x)
	}
	a.host.Watch(list)
	for id, x := range a.hosted {
		if _, still := now[id]; !still {
			a.names.remove(x.Endpoint, time.Now())
			a.sockets.forget(id)
		}
	}
	a.hosted = now
}

// hostSettled reports whether all workloads in the host's network are watched.
func (a *Agent) hostSettled() bool {
	if len(a.hosted) == 0 {
		return true
	}
	select {
	case <-a.host.Settled():
		return true
	default:
		return false
	}
}

// note returns the note on a whole workload.
func (a *Agent) workloadNote(t *tracked) []string {
	if n := a.host.Note(); t.HostNet && n != "" {
		return []string{n}
	}
	return nil
}
