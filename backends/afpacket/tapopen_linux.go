package afpacket

import (
	"fmt"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/netns"
)

// tapAttachment is one tapped endpoint.
type tapAttachment struct {
	*tap
}

var _ backend.Attachment = tapAttachment{}

// Queues implements backend.Attachment.
func (a tapAttachment) Queues() []backend.Queue { return []backend.Queue{a.group} }

// Activate binds the socket, which starts the flow of frames. It implements
// backend.Attachment.
func (a tapAttachment) Activate() error {
	if err := a.sock.Load().bind(); err != nil {
		return fmt.Errorf("activate tap of endpoint %d: %w", a.endpoint, err)
	}
	a.bound.Store(true)
	return nil
}

// Close stops the flow of frames; the queue ends when those in the ring have been received.
// It implements backend.Attachment.
func (a tapAttachment) Close() error {
	now := time.Now() // with its monotonic reading
	if !a.stopped.CompareAndSwap(nil, &now) {
		return nil
	}
	a.whileOpen(func() {
		for _, s := range []*tapSocket{a.sock.Load(), a.next.Load()} {
			if s != nil {
				_ = s.snap(0, 0)
			}
		}
	})
	a.group.Wake()
	return nil
}

// attachTap prepares a tap in the group of its namespace; no frame arrives before Activate. The lock
// is held.
func (b *Backend) attachTap(ep backend.Endpoint) (*tap, error) {
	id, err := netns.Identity(ep.NetNS)
	if err != nil {
		return nil, err
	}
	t, err := openTap(ep, b.cfg)
	if err != nil {
		return nil, err
	}
	if t.group = b.taps[id]; t.group == nil || !t.group.add(t) {
		t.group = newTapGroup(b.cfg)
		t.group.add(t)
		for old, g := range b.taps {
			if g.over() {
				delete(b.taps, old)
			}
		}
		b.taps[id] = t.group
	}
	t.sock.Load().watch(t.signal)
	return t, nil
}

// openTap opens a tap's socket.
func openTap(ep backend.Endpoint, cfg Config) (*tap, error) {
	s, err := openTapSocket(ep, cfg, cfg.TapRing)
	if err != nil {
		return nil, err
	}
	t := &tap{endpoint: ep.ID, ep: ep, cfg: cfg, retire: cfg.TapRetire, link: s.link, mtu: s.mtu, index: s.index}
	t.sock.Store(s)
	t.gate.release = t.free
	return t, nil
}
