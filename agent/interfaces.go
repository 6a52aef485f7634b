package agent

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/netns"
)

// matchInterfaces assigns the endpoints of a workload to its present interfaces, by their numbers: one that
// was renamed or has another MAC address stays attached. An endpoint whose interface is gone is detached,
// unless the host's end still exists: then the interface is in another namespace, and what is there uses the
// workload's connection to the network.
func (a *Agent) matchInterfaces(t *tracked) {
	by := map[int]*endpoint{}
	for _, e := range t.endpoints {
		if e.iface.Name != loopback {
			by[e.iface.Index] = e
		}
	}
	next := map[string]*endpoint{}
	if lo := t.endpoints[loopback]; lo != nil {
		next[loopback] = lo
	}
	var fresh []*workload.Interface
	for i := range t.Interfaces {
		n := &t.Interfaces[i]
		e := by[n.Index]
		if n.Name == loopback {
			continue // lo is attached for a sidecar only
		}
		if e == nil || e.iface.Kind != n.Kind || (e.iface.MAC == "") != (n.MAC == "") {
			fresh = append(fresh, n)
			continue
		}
		delete(by, n.Index)
		e.follow(n)
		next[n.Name] = e
	}
	for _, e := range by {
		if e.leave() {
			next[fmt.Sprintf("%s#%d", e.iface.Name, e.iface.Index)] = e
			continue
		}
		for name, x := range t.endpoints {
			if x == e {
				a.detach(t, name)
			}
		}
	}
	t.endpoints = next
	a.assignIDs(t, fresh)
}

// assignIDs adds the endpoints of new interfaces, and renames the numbers of the others.
func (a *Agent) assignIDs(t *tracked, fresh []*workload.Interface) {
	used := map[uint32]bool{}
	for _, e := range t.endpoints {
		used[e.id] = true
	}
	for _, n := range fresh {
		id := a.endpointID(t.ID, n.Name)
		for used[id] { // of an interface that had this name before
			delete(a.ids, t.ID+"\x00"+n.Name)
			id = a.endpointID(t.ID, n.Name)
		}
		used[id] = true
		t.endpoints[n.Name] = &endpoint{id: id, iface: *n}
	}
	for name, e := range t.endpoints {
		a.ids[t.ID+"\x00"+name] = e.id
	}
}

// follow applies the present state of an endpoint's interface.
func (e *endpoint) follow(n *workload.Interface) {
	renamed, readdressed := e.iface.Name != n.Name, e.iface.MAC != n.MAC
	e.iface, e.moved = *n, false
	for i := range e.plans {
		p := &e.plans[i]
		if renamed && p.Hook.Side != backend.HostSide {
			p.Hook.Interface = n.Name
		}
		if mac, err := net.ParseMAC(n.MAC); readdressed && err == nil && len(mac) == 6 {
			p.MAC = [6]byte(mac)
		}
	}
}

// leave reports whether the interface of an endpoint is in another namespace: the host's end still exists.
func (e *endpoint) leave() bool {
	e.moved = false
	for i := range e.plans {
		h := &e.plans[i].Hook
		if h.Side != backend.HostSide || e.plans[i].TapOnly {
			continue
		}
		err := netns.Do(h.NetNS, func() error {
			_, err := netlink.LinkByIndex(h.Index)
			return err
		})
		e.moved = err == nil
	}
	return e.moved
}

// dropMoved detaches endpoints whose interfaces left their namespaces and no longer exist.
func (a *Agent) dropMoved() {
	for _, t := range a.workloads {
		for _, name := range slices.Sorted(maps.Keys(t.endpoints)) {
			if e := t.endpoints[name]; e.moved && !e.leave() {
				a.detach(t, name)
			}
		}
	}
}

// carried reports whether the frames of an endpoint are judged at the interface below it in the same
// namespace. Queues take packets from the interface that the network stack uses, so they do not.
func (t *tracked) carried(e *endpoint) bool {
	if e.iface.Inner == "" {
		return false
	}
	below := t.endpoints[e.iface.Inner]
	switch {
	case below == nil:
		return false
	case t.carried(below):
		return true
	case below.at.Kind == backend.NoKind:
		return below.err == ""
	}
	return !inStack(&below.at)
}

// stopCarried detaches an endpoint whose frames are judged at the interface below it.
func (a *Agent) stopCarried(t *tracked, e *endpoint) {
	e.err = ""
	if e.at.Kind == backend.NoKind {
		return
	}
	if err := a.cfg.Engine.Detach(e.id); err != nil {
		a.log.Warn("interface not detached cleanly", "workload", t.ID, "interface", e.iface.Name, "error", err)
	}
	e.at = backend.Endpoint{}
}

// own returns the addresses of a workload.
func (t *tracked) own() []netip.Prefix {
	var out []netip.Prefix
	for i := range t.Interfaces {
		for _, p := range t.Interfaces[i].Addresses {
			out = append(out, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
		}
		for _, ip := range t.Interfaces[i].LinkLocal {
			out = append(out, netip.PrefixFrom(ip, ip.BitLen()))
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

// macs returns the further MAC addresses of an endpoint.
func (e *endpoint) macs() [][6]byte {
	var out [][6]byte
	for _, text := range e.iface.MACs {
		if mac, err := net.ParseMAC(text); err == nil && len(mac) == 6 && mac[0]&1 == 0 {
			out = append(out, [6]byte(mac))
		}
	}
	return out
}

// movedNote describes an endpoint whose interface left its namespace.
func (e *endpoint) movedNote() string {
	if !e.moved {
		return ""
	}
	return e.iface.Name + " was moved to another namespace from inside of the workload: what uses it there is judged as the workload"
}
