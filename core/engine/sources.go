package engine

import (
	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/core/path"
)

// SetSources sets the list of addresses from which an endpoint's workload may send, before the
// endpoint is attached or later; nil: senders are not checked. The list may change by itself;
// call SetSources again with the same list when it has, so that other endpoints know whose
// addresses they are.
func (e *Engine) SetSources(endpoint uint32, l *own.List) {
	e.mu.Lock()
	if l == nil {
		delete(e.sources, endpoint)
	} else {
		e.sources[endpoint] = l
	}
	a := e.current(endpoint)
	if a != nil {
		e.publish()
	}
	e.mu.Unlock()
	if a != nil {
		e.wakeAround(a)
	}
}

// publishOwners makes the addresses of the endpoints' workloads known to paths. The caller holds mu.
func (e *Engine) publishOwners(ends path.Endpoints) {
	o := path.OwnersOf(ends)
	e.shared.Owners.Store(&o)
}
