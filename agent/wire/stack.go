package wire

import (
	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/core/backend"
)

// Stack is the plan for an interface that is to be enforced inside of the workload's own network
// stack, by netfilter; p is the plan for packet rings.
func Stack(w *workload.Workload, i *workload.Interface, p Plan) Plan {
	note := "queues inside of the workload"
	if p.TapOnly {
		note += ": " + p.Note + " by packet rings"
	}
	return Plan{Hook: backend.Hook{NetNS: w.NetNS, Interface: i.Name, Index: i.Index, Side: backend.StackSide}, MAC: p.MAC, Note: note}
}

// Loopback is the plan for what an application and its sidecar say to each other.
func Loopback(w *workload.Workload, i *workload.Interface, m Mesh) Plan {
	what := "what it sends and what comes for it is redirected there"
	switch {
	case !m.In:
		what = "what it sends is redirected there"
	case !m.Out:
		what = "what comes for it is redirected there"
	}
	return Plan{
		Hook: backend.Hook{NetNS: w.NetNS, Interface: i.Name, Index: i.Index, Side: backend.LoopbackSide},
		Note: "between the application and its sidecar: " + what,
	}
}
