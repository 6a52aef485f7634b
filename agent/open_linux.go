package agent

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/internal/netns"
)

// openEvery is the minimum interval between two readings of a workload's open connections: an idle one is
// kept for much longer than that without them.
const openEvery = 30 * time.Second

// openSockets is what is known of a workload's open connections.
type openSockets struct {
	last map[role.Tuple]bool // of the last reading
	read time.Time           // of the last reading
}

// openAtAttach reports the connections that a workload's sockets held open when an endpoint was attached: those
// that both readings show, before its packets were seen and after. The packets of others may wait in the ring, and
// programs connect UDP sockets for a moment to learn their own address.
func (r *socketReader) openAtAttach(t *tracked, e *endpoint, before, after *socketList) {
	opened := maps.Clone(after.open)
	maps.DeleteFunc(opened, func(x role.Tuple, _ bool) bool { return !before.open[x] })
	t.open = openSockets{last: after.open, read: time.Now()}
	r.setHeld(t, e, opened, after.open)
}

// refreshOpen reads the open connections of a workload again. What two readings show and no packet, was open
// before it could be seen.
func (r *socketReader) refreshOpen(t *tracked) {
	if time.Since(t.open.read) < openEvery || t.mesh.Any() {
		return
	}
	s, err := socketsOf(t.NetNS, true)
	t.open.read = time.Now()
	if err != nil {
		r.log.Debug("open connections not read", "workload", t.ID, "error", err)
		return
	}
	opened := maps.Clone(s.open)
	maps.DeleteFunc(opened, func(x role.Tuple, _ bool) bool { return !t.open.last[x] })
	t.open.last = s.open
	for _, e := range t.endpoints {
		if e.at.Kind != backend.NoKind {
			r.setHeld(t, e, opened, s.open)
		}
	}
}

// setHeld reports to the engine which of a workload's open connections are an endpoint's. Those of a
// workload with a sidecar are redirected, and seen with other ends.
func (r *socketReader) setHeld(t *tracked, e *endpoint, opened, all map[role.Tuple]bool) {
	if e.iface.Name == loopback || t.mesh.Any() {
		return
	}
	by := routes{t: t, of: map[string]bool{}, indexes: map[int]bool{}}
	kind, _ := r.policy.wanted(t.ID)
	for _, x := range t.endpoints {
		if t.judge(x, kind) == e {
			by.of[x.iface.Name], by.indexes[x.iface.Index] = true, true
		}
	}
	var known, first []role.Tuple
	for x := range all {
		switch {
		case !by.uses(&x):
		case opened[x]:
			first = append(first, x)
		default:
			known = append(known, x)
		}
	}
	r.engine.SetHeld(e.id, first, known)
}

// routes finds the interface of connections.
type routes struct {
	t       *tracked
	of      map[string]bool // the interfaces of an endpoint, by name
	indexes map[int]bool    // their numbers
}

// uses reports whether a connection uses an interface of the endpoint: by its local address, else by the route to
// its peer. Connections within the workload use none.
func (r *routes) uses(x *role.Tuple) bool {
	local, remote := x.Local.Netip(), x.Remote.Netip()
	if local.IsLoopback() || remote.IsLoopback() || !remote.IsValid() || remote.IsUnspecified() || remote.IsMulticast() || r.owner(remote) != "" {
		return false
	}
	if name := r.owner(local); name != "" {
		return r.of[name]
	}
	index := 0
	err := netns.Do(r.t.NetNS, func() error {
		list, err := netlink.RouteGet(remote.AsSlice())
		if err == nil && len(list) > 0 {
			index = list[0].LinkIndex
		}
		return err
	})
	return err == nil && r.indexes[index]
}

// owner returns the interface of the workload that has an address; "" for none.
func (r *routes) owner(a netip.Addr) string {
	for i := range r.t.Interfaces {
		n := &r.t.Interfaces[i]
		if slices.ContainsFunc(n.Addresses, func(p netip.Prefix) bool { return p.Addr() == a }) {
			return n.Name
		}
	}
	return ""
}
