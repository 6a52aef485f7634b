package engine

import "github.com/sluicenet/sluice/core/role"

// SetSockets sets the known sockets of an endpoint's workload, before the endpoint is
// attached or later; nil is none. The engine keeps the value, which must not change. Sessions
// whose client is uncertain are evaluated again where it has something new.
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

// Remember sets the sides of sessions known from before a restart; nil removes them.
func (e *Engine) Remember(m *role.Memory) {
	e.shared.Memory.Store(m)
	e.wake()
}
