package workload

import (
	"context"
	"iter"
)

// Host is the Source of one workload: the machine's processes outside containers, in the network
// namespace at a path.
type Host struct {
	// Node is the machine's name.
	Node string
	// NetNS is the path of the host's namespace; HostNetNS if empty.
	NetNS string
}

// HostNetNS is the agent's own namespace, which is the machine's.
const HostNetNS = "/proc/self/ns/net"

var _ Source = (*Host)(nil)

// Watch reports the workload and then waits for the end of ctx.
func (h *Host) Watch(ctx context.Context) iter.Seq2[Event, error] {
	w := Workload{ID: "host:" + h.Node, Name: h.Node, Namespace: "default", Service: "host", Node: h.Node, NetNS: h.NetNS, HostNet: true, Source: "host"}
	if w.NetNS == "" {
		w.NetNS = HostNetNS
	}
	return func(yield func(Event, error) bool) {
		if yield(Event{Kind: Added, Workload: w}, nil) && yield(Event{Kind: Synced}, nil) {
			<-ctx.Done()
		}
	}
}
