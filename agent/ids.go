package agent

import (
	"sync"

	"github.com/sluicenet/sluice/core/backend"
)

// maxEndpoint is the largest number of an endpoint, by which backends mark its frames.
const maxEndpoint = backend.MaxID

// endpointKey is a workload's interface.
type endpointKey struct{ workload, iface string }

// endpointIDs assigns numbers to the interfaces of workloads, the same for the whole run of the agent. It is
// safe for concurrent use.
type endpointIDs struct {
	used func() map[uint32]bool // numbers of existing endpoints
	max  uint32

	mu   sync.Mutex
	ids  map[endpointKey]uint32 // guarded by mu
	last uint32                 // guarded by mu
}

func newEndpointIDs(used func() map[uint32]bool) *endpointIDs {
	return &endpointIDs{used: used, max: maxEndpoint, ids: map[endpointKey]uint32{}}
}

// of returns the number of a workload's interface.
func (n *endpointIDs) of(workload, iface string) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := endpointKey{workload, iface}
	if id, ok := n.ids[key]; ok {
		return id
	}
	var used map[uint32]bool
	if n.last >= n.max { // after 8 million: search free ones
		used = n.used()
		clear(n.ids)
		n.last = 0
	}
	n.last++
	for used[n.last] {
		n.last++
	}
	n.ids[key] = n.last
	return n.last
}

// renew assigns another number to a workload's interface.
func (n *endpointIDs) renew(workload, iface string) uint32 {
	n.mu.Lock()
	delete(n.ids, endpointKey{workload, iface})
	n.mu.Unlock()
	return n.of(workload, iface)
}

// set makes a number that of another interface of its workload.
func (n *endpointIDs) set(workload, iface string, id uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ids[endpointKey{workload, iface}] = id
}
