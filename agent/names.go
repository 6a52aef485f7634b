package agent

import (
	"sync"
	"time"
)

// endpointNames maps endpoints to workloads, also for a while after their end, when their last records arrive.
type endpointNames struct {
	mu   sync.RWMutex
	ids  map[uint32]string    // guarded by mu
	gone map[uint32]time.Time // guarded by mu
}

const nameKept = 10 * time.Second

func newEndpointNames() *endpointNames {
	return &endpointNames{ids: map[uint32]string{}, gone: map[uint32]time.Time{}}
}

func (n *endpointNames) workload(id uint32) string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.ids[id]
}

func (n *endpointNames) add(id uint32, workload string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ids[id] = workload
	delete(n.gone, id)
}

func (n *endpointNames) remove(id uint32, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone[id] = now
}

func (n *endpointNames) sweep(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, since := range n.gone {
		if now.Sub(since) > nameKept {
			delete(n.gone, id)
			delete(n.ids, id)
		}
	}
}
