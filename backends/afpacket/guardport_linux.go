package afpacket

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
)

// inspectPort checks the service port and its programs, and reports whether it repaired
// something; it runs in the port's namespace. The backend's lock is held.
func (p *port) inspectPort(c *changes, now time.Time) (repaired bool) {
	found, err := p.mendPort(c)
	for _, l := range p.links {
		if err != nil {
			break // they go with the port
		}
		var what string
		if what, err = l.mend(p); what != "" {
			found = append(found, what+" on the service port")
		}
	}
	broken := p.repairs.Broken(backend.PartPort, portName, 0)
	if err == nil {
		p.queue.resume()
	}
	if err != nil || len(found) > 0 || broken {
		p.repairs.Add(backend.Repair{Part: backend.PartPort, Interface: portName, Detail: strings.Join(found, ", "), Sound: p.sound, At: time.Now(), Err: err})
	}
	if err == nil {
		p.sound = now
	}
	return len(found) > 0
}

// mendPort repairs the interfaces of the port, and returns what it found. While they are
// unusable, the fail mode applies.
func (p *port) mendPort(c *changes) (found []string, err error) {
	ends := [2]int{p.ours, int(p.queue.index.Load())}
	var links [2]netlink.Link
	for i, index := range ends {
		l, err := netlink.LinkByIndex(index)
		var none netlink.LinkNotFoundError
		if err != nil && !errors.As(err, &none) && !errors.Is(err, unix.ENODEV) {
			return nil, fmt.Errorf("find service port: %w", err)
		}
		if err != nil || l.Type() != "veth" || l.Attrs().ParentIndex != ends[1-i] {
			p.queue.suspend()
			return []string{"removed, or moved to another namespace"}, p.rebuild()
		}
		links[i] = l
	}
	for i, l := range links {
		what, err := p.mendEnd(l, [2]string{portName, enginePort}[i])
		found = append(found, what...)
		if err != nil {
			return found, err
		}
		if c.roots[ends[i]] {
			found = append(found, "queueing discipline at the root of "+l.Attrs().Name)
			if err := delRoot(ends[i]); err != nil {
				return found, err
			}
		}
	}
	changed, err := limitOffloads()
	if changed {
		found = append(found, "offloads changed")
	}
	return found, err
}

// delRoot removes the queueing discipline at the root of an interface.
func delRoot(index int) error {
	err := netlink.QdiscDel(&netlink.GenericQdisc{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Parent: netlink.HANDLE_ROOT}})
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("remove queueing discipline: %w", err)
	}
	return nil
}

// mendEnd restores the settings of one end.
func (p *port) mendEnd(l netlink.Link, name string) (found []string, err error) {
	at := l.Attrs()
	byIndex := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: at.Index, Name: at.Name}}
	steps := []struct {
		wrong bool
		what  string
		fix   func() error
	}{
		{at.Name != name, "renamed to " + at.Name, func() error { return p.rename(byIndex, name) }},
		{at.MTU != portMTU, fmt.Sprintf("MTU changed to %d", at.MTU), func() error { return netlink.LinkSetMTU(byIndex, portMTU) }},
		{at.MasterIndex != 0, "enslaved", func() error { return netlink.LinkSetNoMaster(byIndex) }},
		{at.Alias != portAlias, "alias changed", func() error { return netlink.LinkSetAlias(byIndex, portAlias) }},
		{at.RawFlags&unix.IFF_NOARP == 0, "ARP switched on", func() error { return netlink.LinkSetARPOff(byIndex) }},
		{at.Xdp != nil && at.Xdp.Attached, "XDP program attached", func() error { return netlink.LinkSetXdpFd(byIndex, -1) }},
		{at.Flags&net.FlagUp == 0, "set down", func() error {
			p.queue.suspend()
			return netlink.LinkSetUp(byIndex)
		}},
	}
	for _, s := range steps {
		if !s.wrong {
			continue
		}
		found = append(found, name+" "+s.what)
		if err := s.fix(); err != nil {
			return found, fmt.Errorf("restore %s (%s): %w", name, s.what, err)
		}
	}
	return found, nil
}

// rename gives an end its name back. Older kernels rename interfaces that are down only.
func (p *port) rename(l netlink.Link, name string) error {
	err := netlink.LinkSetName(l, name)
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	p.queue.suspend()
	if err := netlink.LinkSetDown(l); err != nil {
		return err
	}
	return errors.Join(netlink.LinkSetName(l, name), netlink.LinkSetUp(l))
}

// rebuild creates the interfaces of a port again. The near end has its former number, so that
// the programs at the hooks still steer to it, and the queue keeps its rings: nothing is unhooked
// meanwhile, and the fail mode applies. It runs in the port's namespace.
func (p *port) rebuild() error {
	for _, index := range []int{p.ours, int(p.queue.index.Load())} {
		if l, err := netlink.LinkByIndex(index); err == nil && l.Type() == "veth" && l.Attrs().Alias == portAlias {
			if err := netlink.LinkDel(l); err != nil {
				return fmt.Errorf("remove rest of service port: %w", err)
			}
		}
	}
	if l, err := netlink.LinkByIndex(p.ours); err == nil {
		// Another interface has the number: only a new port with new programs can be used.
		p.queue.lost.Store(true)
		return fmt.Errorf("interface %s has its number: %w", l.Attrs().Name, ErrPortLost)
	}
	for _, l := range p.links {
		_ = l.Close() // of interfaces that are gone
	}
	p.links = nil
	_, engines, err := addPort(p.ours)
	if err != nil {
		return err
	}
	if err := p.queue.rebind(engines); err != nil {
		return err
	}
	return p.linkUp(engines)
}

// rebind binds the sockets to the new engine's end.
func (q *inline) rebind(index int) (err error) {
	q.whileOpen(func() {
		for _, s := range []struct {
			fd    int
			proto uint16
		}{{q.small.fd, htons(unix.ETH_P_ALL)}, {q.large.fd, htons(unix.ETH_P_ALL)}, {q.jumbo.fd, htons(unix.ETH_P_ALL)}, {q.wrapped.fd, 0}} {
			if err == nil {
				err = unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: s.proto, Ifindex: index})
			}
		}
		if err == nil {
			q.index.Store(int64(index))
		}
	})
	if err != nil {
		return fmt.Errorf("bind to new service port: %w", err)
	}
	return nil
}

// suspend makes the fail mode apply until resume.
func (q *inline) suspend() {
	if !q.pulse.suspended.Swap(true) {
		q.whileOpen(func() { storeU64(q.pulse.control, 0, 0) })
	}
}

// resume ends suspend; the worker's next heartbeat switches steering on again.
func (q *inline) resume() {
	if q.pulse.suspended.Swap(false) {
		q.whileOpen(q.clearErrors)
		q.Wake()
	}
}
