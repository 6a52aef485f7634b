package wire

import (
	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/core/backend"
)

// Stack returns the plan for an interface that is enforced inside the workload's own network stack, by
// netfilter; p is the plan for packet rings.
func Stack(w *workload.Workload, i *workload.Interface, p Plan) Plan {
	note := "queues inside of the workload; what it sends by packet sockets (CAP_NET_RAW) bypasses them"
	if p.TapOnly {
		note += ": " + p.Note + " by packet rings"
	}
	return Plan{Hook: backend.Hook{NetNS: w.NetNS, Interface: i.Name, Index: i.Index, Side: backend.StackSide}, MAC: p.MAC, Note: note}
}

// Loopback returns the plan for traffic between an application and its sidecar.
func Loopback(w *workload.Workload, i *workload.Interface, m Mesh) Plan {
	what := "its outbound and inbound traffic is redirected there"
	switch {
	case !m.In:
		what = "its outbound traffic is redirected there"
	case !m.Out:
		what = "its inbound traffic is redirected there"
	}
	return Plan{
		Hook: backend.Hook{NetNS: w.NetNS, Interface: i.Name, Index: i.Index, Side: backend.LoopbackSide},
		Note: "between the application and its sidecar: " + what,
	}
}
