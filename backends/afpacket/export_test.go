package afpacket

import "github.com/cilium/ebpf"

// ClearMap deletes the entries of a map of every port, as another program could.
func (b *Backend) ClearMap(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.ports {
		m := map[string]*ebpf.Map{"hooks": p.objs.Hooks, "endpoints": p.objs.Endpoints, "unjudged": p.objs.Unjudged}[name]
		var key uint32
		for m.NextKey(nil, &key) == nil {
			if err := m.Delete(key); err != nil {
				return err
			}
		}
	}
	return nil
}

// WhileLocked runs fn while nothing is checked or repaired.
func (b *Backend) WhileLocked(fn func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fn()
}
