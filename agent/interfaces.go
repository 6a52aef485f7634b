package agent

import (
	"fmt"
	"maps"
	"net"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/sluicenet/sluice/agent/wire"
	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/netns"
)

// matchInterfaces assigns the endpoints of a workload to its present interfaces, by their numbers: one that
// was renamed or has another MAC address stays attached. An endpoint whose interface is gone is detached,
// unless the host's end still exists: then the interface is in another namespace, and what is there uses the
// workload's connection to the network.
func (a *attacher) matchInterfaces(t *tracked) {
	by, next := map[int]*endpoint{}, map[string]*endpoint{}
	for name, e := range t.endpoints {
		if name == loopback || e.absent {
			next[name] = e
		} else {
			by[e.iface.Index] = e
		}
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
		name := fmt.Sprintf("%s#%d", e.iface.Name, e.iface.Index)
		if m := a.movedAway(t, e, name); m != nil {
			next[name] = m
		}
		if a.keepAbsent(t, e) {
			next[name+" queues"] = e
		}
		if next[name] == e || e.absent {
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
func (a *attacher) assignIDs(t *tracked, fresh []*workload.Interface) {
	used := map[uint32]bool{}
	for _, e := range t.endpoints {
		used[e.id] = true
	}
	for _, n := range fresh {
		id := a.ids.of(t.ID, n.Name)
		for used[id] { // of an interface that had this name before
			id = a.ids.renew(t.ID, n.Name)
		}
		used[id] = true
		t.endpoints[n.Name] = &endpoint{id: id, iface: *n}
	}
	for name, e := range t.endpoints {
		a.ids.set(t.ID, name, e.id)
	}
}

// follow applies the present state of an endpoint's interface.
func (e *endpoint) follow(n *workload.Interface) {
	renamed, readdressed := e.iface.Name != n.Name, e.iface.MAC != n.MAC
	e.planned = e.planned && !e.moved
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

// movedAway returns the endpoint of an interface that is in another namespace, nil if it is in none: with
// queues, which are in the namespace that it left, a new one for the host's end.
func (a *attacher) movedAway(t *tracked, e *endpoint, name string) *endpoint {
	m := e
	if ofAll(&e.at) {
		m = &endpoint{iface: e.iface, planned: true, choice: e.choice}
		m.plans = slices.DeleteFunc(slices.Clone(e.plans), func(p wire.Plan) bool { return p.Hook.Side != backend.HostSide })
	}
	if !m.leave() {
		return nil
	}
	if m != e {
		m.id = a.ids.of(t.ID, name)
	}
	return m
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
func (a *attachments) dropMoved() {
	for _, t := range a.workloads {
		for _, name := range slices.Sorted(maps.Keys(t.endpoints)) {
			if e := t.endpoints[name]; e.moved && !e.leave() {
				a.attacher.detach(t, name)
			}
		}
	}
}

// judge returns the endpoint by which the packets of another are judged, itself if it has an attachment of
// its own: that of the interface below it in the same namespace, or the one whose queues take the packets of
// the whole namespace. Kind is how it is wanted.
func (t *tracked) judge(e *endpoint, kind backend.Kind) *endpoint {
	if t.inside(e) {
		return e
	}
	if below := t.endpoints[e.iface.Inner]; e.iface.Inner != "" && below != nil {
		if j := t.judge(below, kind); j != below || j.at.Kind != backend.NoKind || j.err == "" {
			return j
		}
	}
	if q := t.queueOfAll(); q != nil && kind == backend.Inline && e.shares() {
		return q
	}
	return e
}

// stopCarried detaches an endpoint whose frames are judged at the interface below it.
func (a *attacher) stopCarried(t *tracked, e *endpoint) {
	e.err = ""
	if e.at.Kind == backend.NoKind {
		return
	}
	if err := a.cfg.Engine.Detach(e.id); err != nil {
		a.log.Warn("interface not detached cleanly", "workload", t.ID, "interface", e.iface.Name, "error", err)
	}
	e.at = backend.Endpoint{}
}

// movedNote describes an endpoint whose interface left its namespace.
func (e *endpoint) movedNote() string {
	if !e.moved {
		return ""
	}
	return e.iface.Name + " was moved to another namespace from inside of the workload: what uses it there is judged as the workload"
}
