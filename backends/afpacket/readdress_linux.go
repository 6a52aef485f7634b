package afpacket

import (
	"fmt"

	"github.com/sluicenet/sluice/core/backend"
)

var _ backend.Readdresser = (*attachment)(nil)

// Readdress gives an attached endpoint another MAC address; what a tap captures does not depend on it.
// It implements backend.Readdresser.
func (a *attachment) Readdress(ep backend.Endpoint) error {
	a.b.mu.Lock()
	defer a.b.mu.Unlock()
	if _, open := a.b.open[a]; !open {
		return fmt.Errorf("readdress endpoint %d: %w", ep.ID, ErrClosed)
	}
	in, ok := a.Attachment.(*inlineAttachment)
	if !ok {
		return nil
	}
	return in.readdress(ep)
}

// readdress writes another MAC address into the maps. A frame that is between the programs and the
// worker meanwhile continues with the new address. The backend's lock is held.
func (a *inlineAttachment) readdress(ep backend.Endpoint) error {
	if isTag(ep.MAC[:]) || ep.MAC == [6]byte{} || ep.MAC[0]&1 != 0 {
		return fmt.Errorf("%w: address %x", ErrEndpoint, ep.MAC)
	}
	if a.ep.MAC == ep.MAC {
		a.ep = ep
		return nil
	}
	before := a.ep
	a.ep = ep
	back, hook := a.entries()
	a.ep = before
	if err := a.port.objs.Endpoints.Put(ep.ID, back); err != nil {
		return fmt.Errorf("enter endpoint: %w", err)
	}
	if err := a.port.objs.Hooks.Put(uint32(a.index), hook); err != nil {
		return fmt.Errorf("enter hook: %w", err)
	}
	a.port.queue.endpoints.change(func(m map[uint32]known) {
		k := m[ep.ID]
		k.mac = ep.MAC
		m[ep.ID] = k
	})
	a.ep = ep
	return nil
}
