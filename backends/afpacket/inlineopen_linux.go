package afpacket

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/sluicenet/sluice/core/backend"
)

// inlineAttachment is one inline endpoint.
type inlineAttachment struct {
	ep    backend.Endpoint
	index int // of the hook
	mark  uint32
	port  *port
	links []*attached
	sound time.Time // when its parts were last found as they are to be
	path  *pathMTU  // of a tunnel; nil for any other hook
	big   bool      // the hook has BIG TCP
}

var _ backend.Attachment = (*inlineAttachment)(nil)

// attachInline adds the endpoint to the maps; its frames arrive after Activate.
func (p *port) attachInline(ep backend.Endpoint) (*inlineAttachment, error) {
	p.dropRetired()
	if isTag(ep.MAC[:]) || ep.MAC == [6]byte{} || ep.MAC[0]&1 != 0 {
		return nil, fmt.Errorf("%w: address %x", ErrEndpoint, ep.MAC)
	}
	if ep.Hook.Side > backend.OwnSide || ep.Fail > backend.FailClosed {
		return nil, fmt.Errorf("%w: side %d, fail mode %d", ErrEndpoint, ep.Hook.Side, ep.Fail)
	}
	a := &inlineAttachment{ep: ep, port: p, sound: time.Now()}
	if err := p.do(a.find); err != nil {
		return nil, err
	}
	if _, ok := p.attached[ep.ID]; ok {
		return nil, fmt.Errorf("%w: it is attached already", ErrEndpoint)
	}
	if other, ok := p.hooked[a.index]; ok {
		return nil, fmt.Errorf("%w: its hook %s is endpoint %d's", ErrEndpoint, ep.Hook.Interface, other)
	}
	if err := a.enter(); err != nil {
		return nil, err
	}
	delete(p.retired, ep.ID)
	delete(p.missed.large, ep.ID)
	if a.big || ownBig(&ep) {
		p.queue.expectBig()
	}
	p.queue.endpoints.add(ep.ID, known{mac: ep.MAC, open: ep.Fail == backend.FailOpen, large: new(oversized), path: a.path})
	p.attached[ep.ID], p.hooked[a.index] = a, ep.ID
	p.queue.shareAmong(len(p.attached))
	return a, nil
}

// find looks up the hook; it runs in the hook's namespace.
func (a *inlineAttachment) find() error {
	h := a.ep.Hook
	var l netlink.Link
	var err error
	if h.Interface != "" {
		l, err = netlink.LinkByName(h.Interface)
	} else {
		l, err = netlink.LinkByIndex(h.Index)
	}
	if err != nil {
		return fmt.Errorf("find hook %s: %w", h.Interface, err)
	}
	a.index = l.Attrs().Index
	a.path = a.tunnel(l)
	a.big = sendsBig(l)
	if h.Index != 0 && h.Index != a.index {
		return fmt.Errorf("%w: hook %s is number %d, not %d", ErrEndpoint, h.Interface, a.index, h.Index)
	}
	return nil
}

// enter writes the endpoint into the maps.
func (a *inlineAttachment) enter() error {
	var b [4]byte
	for b == [4]byte{} {
		if _, err := rand.Read(b[:]); err != nil {
			return fmt.Errorf("draw mark: %w", err)
		}
	}
	// The mark is secret, so that no workload can bypass the engine by setting it.
	a.mark = binary.NativeEndian.Uint32(b[:])
	back, hook := a.entries()
	objs := &a.port.objs
	if err := objs.Endpoints.Put(a.ep.ID, back); err != nil {
		return fmt.Errorf("enter endpoint: %w", err)
	}
	if err := objs.Unjudged.Put(a.ep.ID, steerMissed{}); err != nil {
		_ = objs.Endpoints.Delete(a.ep.ID)
		return fmt.Errorf("enter counters: %w", err)
	}
	if err := objs.Hooks.Put(uint32(a.index), hook); err != nil {
		_ = objs.Unjudged.Delete(a.ep.ID)
		_ = objs.Endpoints.Delete(a.ep.ID)
		return fmt.Errorf("enter hook: %w", err)
	}
	return nil
}

// Queues implements backend.Attachment.
func (a *inlineAttachment) Queues() []backend.Queue { return []backend.Queue{a.port.queue} }

// Activate attaches the steering programs to the hook. It implements backend.Attachment.
func (a *inlineAttachment) Activate() error {
	if len(a.links) > 0 {
		return nil
	}
	a.port.queue.whileOpen(a.port.queue.pulse.beat)
	err := a.port.do(func() error {
		for _, at := range []struct {
			prog    *ebpf.Program
			name    string
			ingress bool
		}{{a.port.objs.SteerIn, steerProgSteerIn, true}, {a.port.objs.SteerOut, steerProgSteerOut, false}} {
			l, err := a.port.attach(a.index, at.prog, at.name, at.ingress)
			if err != nil {
				return errors.Join(err, a.unhook())
			}
			a.links = append(a.links, l)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("activate endpoint %d: %w", a.ep.ID, err)
	}
	return nil
}

// unhook detaches the programs; it runs in the hook's namespace.
func (a *inlineAttachment) unhook() error {
	var errs []error
	for _, l := range a.links {
		errs = append(errs, l.Close())
	}
	a.links = nil
	return errors.Join(errs...)
}

// Close stops steering, then detaches the programs. Frames on their way arrive without a
// mark, so that nothing on the host sees it. The last attachment of a port closes the port.
// It implements backend.Attachment.
func (a *inlineAttachment) Close() error {
	p := a.port
	side := uint8(a.ep.Hook.Side)
	errs := []error{
		p.objs.Hooks.Put(uint32(a.index), steerHook{Id: a.ep.ID, Mark: a.mark, Side: side, Off: 1}),
		p.objs.Endpoints.Put(a.ep.ID, steerEndpoint{Ifindex: uint32(a.index), Mac: a.ep.MAC, Side: side}),
		p.do(a.unhook),
		p.objs.Hooks.Delete(uint32(a.index)),
		p.forgetUnjudged(a.ep.ID),
	}
	p.repairs.Forget(a.ep.ID)
	delete(p.attached, a.ep.ID)
	p.queue.shareAmong(len(p.attached))
	delete(p.hooked, a.index)
	p.retired[a.ep.ID] = time.Now()
	p.dropRetired()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("detach endpoint %d: %w", a.ep.ID, err)
	}
	return nil
}
