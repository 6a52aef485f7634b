package afpacket

import (
	"errors"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/netns"
)

// attachInline attaches to the port of the hook's namespace, creating it for the first. The
// lock is held, except while waiting for the port's predecessor.
func (b *Backend) attachInline(ep backend.Endpoint) (*inlineAttachment, error) {
	id, err := netns.Identity(ep.Hook.NetNS)
	if err != nil {
		return nil, err
	}
	for b.closing[id] != nil {
		gone := b.closing[id]
		b.mu.Unlock()
		<-gone
		b.mu.Lock()
	}
	if b.closed {
		return nil, ErrClosed
	}
	p := b.ports[id]
	if p != nil && len(p.attached) == 0 && !p.usable() {
		if err := b.closePort(p); err != nil {
			return nil, err
		}
		p = nil
	}
	if p == nil {
		if p, err = openPort(ep.Hook.NetNS, id, b.cfg, b.repairs); err != nil {
			return nil, err
		}
		b.ports[id] = p
		// Without events the heartbeat still shows that the port is unusable.
		if g, err := openGuard(b, p); err == nil {
			p.guard.Store(g)
			b.wg.Add(1)
			go g.run()
		}
	}
	a, err := p.attachInline(ep)
	if err != nil {
		return nil, errors.Join(err, b.release(p))
	}
	b.keepPort(p)
	return a, nil
}

// release closes an unused port: at once, or after a while in which it may be needed again.
func (b *Backend) release(p *port) error {
	if len(p.attached) > 0 {
		return nil
	}
	if b.cfg.PortLinger <= 0 || b.closed || p.uses == 0 {
		return b.closePort(p)
	}
	b.keepPort(p)
	uses := p.uses
	b.wg.Add(1)
	p.linger = time.AfterFunc(b.cfg.PortLinger, func() {
		defer b.wg.Done()
		b.expire(p, uses)
	})
	return nil
}

// keepPort records a use of a port, which restarts its timer. The lock is held.
func (b *Backend) keepPort(p *port) {
	p.uses++
	if p.linger != nil && p.linger.Stop() {
		b.wg.Done()
	}
	p.linger = nil
}

// closePort closes a port now. The lock is held.
func (b *Backend) closePort(p *port) error {
	b.keepPort(p)
	delete(b.ports, p.id)
	p.drain()
	p.collectUnjudged()
	b.collectFrom(p)
	return p.close()
}

// expire closes a port that has not been used since. It takes a tenth of a second and more,
// for which only attachments in the same namespace wait.
func (b *Backend) expire(p *port, uses int) {
	b.mu.Lock()
	if b.ports[p.id] != p || len(p.attached) > 0 || p.uses != uses {
		b.mu.Unlock()
		return
	}
	delete(b.ports, p.id)
	gone := make(chan struct{})
	b.closing[p.id] = gone
	b.mu.Unlock()
	p.drain()
	b.mu.Lock()
	p.collectUnjudged()
	b.collectFrom(p)
	b.mu.Unlock()
	// After an error the next port in this namespace removes the remains.
	_ = p.close()
	b.mu.Lock()
	delete(b.closing, p.id)
	b.mu.Unlock()
	close(gone)
}

// endPorts closes the lingering ports, and waits for those being closed.
func (b *Backend) endPorts() error {
	b.mu.Lock()
	var errs []error
	for _, p := range b.ports {
		errs = append(errs, b.closePort(p))
	}
	b.mu.Unlock()
	b.wg.Wait()
	return errors.Join(errs...)
}
