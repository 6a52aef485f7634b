package engine

import "github.com/sluicenet/sluice/core/role"

// SetSockets sets what is known of the sockets of an endpoint's workload, before the endpoint is
// attached or later; nil is nothing. The engine keeps it, and it does not change any more.
// Sessions whose client is not known for sure are looked at again where it has something new.
func (e *Engine) SetSockets(endpoint uint32, s *role.Sockets) {
	e.mu.Lock()
	before := e.sockets[endpoint]
	if s.Equal(before) {
		e.mu.Unlock()
		return
	}
	if !s.Same(before) {
		e.shared.Listening.Add(1)
	}
	if s == nil {
		delete(e.sockets, endpoint)
	} else {
		e.sockets[endpoint] = s
	}
	e.publish()
	e.mu.Unlock()
	e.wake()
}

// Remember sets which sides of sessions are known from before a restart; nil forgets them.
func (e *Engine) Remember(m *role.Memory) {
	e.shared.Memory.Store(m)
	e.wake()
}
