package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
)

// guardEvery is how often the parts of a port are checked when no event reported a change:
// programs that are detached by their links, and entries of maps, cause none.
const guardEvery = 500 * time.Millisecond

// guard watches the parts of a service port, which other programs can change: its interfaces,
// the programs at the hooks, and their maps. Events of the kernel and a periodic check show
// changes; the port repairs them.
type guard struct {
	b      *Backend
	p      *port
	events *os.File // the kernel's events about interfaces, queueing disciplines and filters
	buf    []byte
}

// changes are the interfaces of which events were received.
type changes struct {
	all   bool
	index map[int]bool
	roots map[int]bool // of these, where a queueing discipline was added at the root
}

// openGuard subscribes to the events of the port's namespace.
func openGuard(b *Backend, p *port) (*guard, error) {
	g := &guard{b: b, p: p, buf: make([]byte, 64<<10)}
	err := p.do(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open event socket: %w", err)
		}
		const groups = 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_TC-1)
		if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
			_ = unix.Close(fd)
			return fmt.Errorf("subscribe to events: %w", err)
		}
		g.events = os.NewFile(uintptr(fd), "netlink")
		return nil
	})
	return g, err
}

// run watches until the port is closed.
func (g *guard) run() {
	defer g.b.wg.Done()
	last := time.Now()
	for {
		c, err := g.wait()
		if err != nil {
			return // closed
		}
		if now := time.Now(); c.all || now.Sub(last) >= guardEvery {
			c.all, last = true, now
		}
		g.b.mu.Lock()
		if g.b.ports[g.p.id] != g.p {
			g.b.mu.Unlock()
			return
		}
		if g.p.inspect(&c) {
			g.discard()
		}
		g.b.mu.Unlock()
	}
}

// wait returns the changes that events report, after guardEvery without one.
func (g *guard) wait() (changes, error) {
	c := changes{index: map[int]bool{}, roots: map[int]bool{}}
	if err := g.events.SetReadDeadline(time.Now().Add(guardEvery)); err != nil {
		return c, err
	}
	if g.p.asked.Swap(false) { // after the deadline is set: ask had its own overwritten
		c.all = true
		return c, nil
	}
	for {
		n, err := g.events.Read(g.buf)
		switch {
		case errors.Is(err, unix.ENOBUFS): // events were lost
			c.all = true
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.all = c.all || len(c.index) == 0 || g.p.asked.Swap(false)
			return c, nil
		case err != nil:
			return c, fmt.Errorf("read events: %w", err)
		default:
			g.p.parseEvents(g.buf[:n], &c)
		}
		// What is already queued belongs to the same change.
		if err := g.events.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			return c, err
		}
	}
}

// discard drops the events that a repair caused, which report the state before its end.
func (g *guard) discard() {
	raw, err := g.events.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		for {
			if _, err := unix.Read(int(fd), g.buf); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return true
			}
		}
	})
	g.p.asked.Store(true) // there may have been others
}

// ask requests a check, and reports whether there will be one; the worker calls it.
func (p *port) ask() bool {
	g := p.guard.Load()
	if g == nil {
		return false
	}
	p.asked.Store(true)
	return g.events.SetReadDeadline(time.Unix(1, 0)) == nil
}

// parseEvents adds the interfaces of the messages in b. An end of the port that is down makes
// the fail mode apply at once.
func (p *port) parseEvents(b []byte, c *changes) {
	ne := binary.NativeEndian
	const header, index, flags, parent = unix.SizeofNlMsghdr, 4, 8, 12
	for len(b) >= header {
		n := int(ne.Uint32(b))
		if n < header || n > len(b) {
			return
		}
		kind, body := ne.Uint16(b[4:]), b[header:n]
		b = b[min((n+3)&^3, len(b)):]
		if len(body) < 16 { // struct ifinfomsg; struct tcmsg is longer
			continue
		}
		i := int(int32(ne.Uint32(body[index:])))
		c.index[i] = true
		switch ours := i == p.ours || int64(i) == p.queue.index.Load(); {
		case !ours || body[0] != unix.AF_UNSPEC: // a bridge reports its ports, too
		case kind == unix.RTM_DELLINK, kind == unix.RTM_NEWLINK && ne.Uint32(body[flags:])&unix.IFF_UP == 0:
			p.queue.suspend()
		case kind == unix.RTM_NEWQDISC && ne.Uint32(body[parent:]) == rootParent:
			c.roots[i] = true
		}
	}
}

// rootParent is TC_H_ROOT.
const rootParent = 0xffffffff

// inspect checks the parts that changes concern, repairs them, and reports whether the port
// was repaired. The backend's lock is held.
func (p *port) inspect(c *changes) (repaired bool) {
	now := time.Now()
	engines := int(p.queue.index.Load())
	portToo := c.all || c.index[p.ours] || c.index[engines]
	var hooks []*inlineAttachment
	for index, id := range p.hooked {
		if c.all || c.index[index] {
			hooks = append(hooks, p.attached[id])
		}
	}
	if !portToo && len(hooks) == 0 || p.queue.lost.Load() {
		return false
	}
	// What is done reports its own errors.
	err := p.do(func() error {
		if portToo {
			repaired = p.inspectPort(c, now)
		}
		for _, a := range hooks {
			a.inspect(now)
		}
		return nil
	})
	if err != nil {
		p.repairs.Add(backend.Repair{Part: backend.PartPort, Interface: portName, Detail: "not checked", Sound: p.sound, At: now, Err: err})
	}
	return repaired
}
