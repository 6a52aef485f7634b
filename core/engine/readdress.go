package engine

import (
	"fmt"

	"github.com/sluicenet/sluice/core/backend"
)

// readdress gives an attached endpoint the interface of ep, without attaching it again. It
// reports false where only a new attachment can have another MAC address. The slot is locked.
func (e *Engine) readdress(s *slot, ep backend.Endpoint) (done bool, err error) {
	a := s.cur
	if a.ep.SameInterface(&ep) {
		return true, nil
	}
	if r, ok := a.att.(backend.Readdresser); ok {
		if err := r.Readdress(ep); err != nil {
			return false, fmt.Errorf("change interface %s of %s: %w", ep.Interface, a.workload, err)
		}
	} else if a.ep.Kind == backend.Inline && (a.ep.MAC != ep.MAC || a.ep.Interface != ep.Interface) {
		return false, nil
	}
	next := *a
	next.ep = ep
	e.setAttached(s, &next)
	return true, nil
}
