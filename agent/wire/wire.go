// Package wire finds where a workload's interface can be hooked: the other end of its veth,
// wherever that is, or the interface itself where there is no other end outside of workloads. It attaches
// nothing; backends do.
package wire

import (
	"fmt"
	"net"
	"sync"

	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/netns"
)

// Plan is how one interface can be attached.
type Plan struct {
	// Hook is where an inline endpoint is steered; not valid with TapOnly.
	Hook backend.Hook
	// TapOnly reports whether the interface can only be tapped, not enforced.
	TapOnly bool
	// Note describes where it is hooked, and why if not on the host's side.
	Note string
	// MAC is the interface's address; zero where it has none.
	MAC [6]byte
}

// Finder makes plans. It caches the namespaces of peers, so that many workloads on one host need one
// query each. It is safe for concurrent use.
type Finder struct {
	// Processes extends the search to the namespaces of all processes, for peers in a namespace that has
	// no name.
	Processes bool

	mu     sync.Mutex
	recent []string // guarded by mu
}

// Managed returns the workload of a namespace. The finder does not hook interfaces inside another
// workload's namespace.
type Managed map[netns.ID]string

// Plan returns the plan for one interface of a workload. An error means that the interface could not be
// read, for instance because it no longer exists.
func (f *Finder) Plan(w *workload.Workload, i *workload.Interface, managed Managed) (Plan, error) {
	p := Plan{Hook: backend.Hook{NetNS: w.NetNS, Interface: i.Name, Index: i.Index, Side: backend.OwnSide}}
	if mac, err := net.ParseMAC(i.MAC); err != nil || len(mac) != 6 || mac.String() == "00:00:00:00:00:00" {
		p.TapOnly = true
		p.Note = fmt.Sprintf("%s has no MAC address (%s): it can be watched but not enforced", i.Name, i.Kind)
		return p, nil
	} else {
		copy(p.MAC[:], mac)
	}
	if i.Kind != "veth" {
		p.Note = fmt.Sprintf("hooked inside of the workload: a %s interface has no other end on the host%s", kind(i.Kind), room(i.Kind))
		return p, nil
	}
	peer, err := f.peer(w.NetNS, i.Index)
	if err != nil {
		return Plan{}, fmt.Errorf("other end of %s: %w", i.Name, err)
	}
	switch name, taken := managed[peer.id]; {
	case !peer.found:
		p.Note = "hooked inside of the workload: the other end of " + i.Name + " is in a namespace that was not found"
	case taken && name == w.Name:
		p.Note = "hooked inside of the workload: both ends of " + i.Name + " are in it"
	case taken:
		p.Note = "hooked inside of the workload: the other end of " + i.Name + " is in workload " + name
	default:
		p.Hook = backend.Hook{NetNS: peer.path, Interface: peer.name, Index: peer.index, Side: backend.HostSide}
		p.Note = "hooked on the host's end of its veth, " + peer.name
	}
	return p, nil
}

// room is what the note adds of an interface that wraps its frames into packets of another: a frame
// that was judged returns without the route that it was sent by, so that the kernel cannot lower the
// path MTU of its sender any more.
func room(k string) string {
	switch k {
	case "vxlan", "geneve", "gretap", "ip6gretap":
		return "; its MTU has to leave room for the tunnel's headers"
	}
	return ""
}

func kind(k string) string {
	if k == "" || k == "device" {
		return "physical"
	}
	return k
}
