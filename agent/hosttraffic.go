package agent

import (
	"maps"
	"sync"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// bySockets is the backend that status shows for workloads in the host's network.
const bySockets = "sockets"

// hostTraffic counts the records of workloads in the host's network, by workload.
type hostTraffic struct {
	mu sync.Mutex
	of map[string]*controlv1.Traffic // guarded by mu; values are replaced, not changed
}

// add counts a record of a workload.
func (h *hostTraffic) add(workload string, f *flow.Record) {
	if workload == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = map[string]*controlv1.Traffic{}
	}
	t := h.of[workload]
	if t == nil {
		t = &controlv1.Traffic{Workload: workload, Backend: bySockets, Verdicts: map[string]uint64{}}
		h.of[workload] = t
	}
	out, in := 0, 1
	if f.Dir != packet.Egress {
		out, in = 1, 0
	}
	t.FramesOut, t.FramesIn = t.FramesOut+f.Packets[out], t.FramesIn+f.Packets[in]
	t.BytesOut, t.BytesIn = t.BytesOut+f.Bytes[out], t.BytesIn+f.Bytes[in]
	switch f.Kind {
	case flow.Start:
		t.Opened++
		t.Sessions++
		t.Verdicts[f.Verdict.String()]++
	case flow.End:
		t.Sessions--
	}
}

func (h *hostTraffic) forget(workload string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.of, workload)
}

func (h *hostTraffic) list() []*controlv1.Traffic {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []*controlv1.Traffic
	for _, t := range h.of {
		out = append(out, &controlv1.Traffic{Workload: t.Workload, Backend: t.Backend, FramesOut: t.FramesOut, FramesIn: t.FramesIn,
			BytesOut: t.BytesOut, BytesIn: t.BytesIn, Verdicts: maps.Clone(t.Verdicts), Opened: t.Opened, Sessions: t.Sessions})
	}
	return out
}
