package workload

import (
	"os"
	"reflect"
	"slices"
	"time"
)

// pending reports whether a fast poll is needed.
func (w *dockerWatch) pending() bool {
	if len(w.bare) > 0 {
		return true
	}
	for _, c := range w.containers {
		if !c.soon.IsZero() {
			return true
		}
	}
	return false
}

// search polls for namespaces and addresses that are about to exist.
func (w *dockerWatch) search(now time.Time) bool {
	for _, id := range sortedKeys(w.containers) {
		c := w.containers[id]
		if c.soon.IsZero() {
			continue
		}
		if now.After(c.soon) {
			c.soon = time.Time{}
		}
		if !w.locate(c) {
			return false
		}
	}
	for ino, until := range w.bare {
		if now.After(until) {
			delete(w.bare, ino)
		}
		if !w.reportChanges(ino) {
			return false
		}
	}
	return true
}

// locate finds the namespace of a container and reports its workloads.
func (w *dockerWatch) locate(c *container) bool {
	if c.network == "" {
		return true // the response with its network mode is pending
	}
	if c.ino != 0 {
		return w.reportChanges(c.ino)
	}
	pid := c.pid
	if pid == 0 && !c.soon.IsZero() {
		pid = w.groups.process(c.id, c.parent)
	}
	if pid == 0 {
		return true
	}
	path := netnsOf(pid)
	ino, err := nsInode(path)
	if err != nil || !c.host() && !c.shares() && w.hosts(ino) {
		return true // it has ended, or the runtime has not made the namespace yet
	}
	c.pid, c.ino, c.path, c.soon = pid, ino, path, time.Time{}
	if !c.host() && w.reported[ino] == nil {
		if c.network != "none" {
			w.bare[ino] = time.Now().Add(dockerBare)
		}
		if err := w.subs.add(path, ino); err != nil {
			w.src.cfg.Logger.Warn("address changes of a container are not noticed", "container", c.name, "error", err)
		}
	}
	return w.reportChanges(ino)
}

// hosts reports whether a namespace is one that the runtime starts in: the daemon's or the agent's.
func (w *dockerWatch) hosts(ino uint64) bool {
	for _, pid := range []int{os.Getpid(), int(w.src.api.daemon.Load())} {
		if is, err := nsInode(netnsOf(pid)); err == nil && is == ino {
			return true
		}
	}
	return false
}

// refresh finds another process of the container in its namespace if the known one has ended: the
// runtime has short-lived helpers before the container's first process. It returns false if there is none.
func (w *dockerWatch) refresh(c *container) bool {
	if ino, err := nsInode(c.path); err == nil && ino == c.ino {
		return true
	}
	for _, pid := range []int{c.main, w.groups.process(c.id, c.parent)} {
		if pid == 0 {
			continue
		}
		if ino, err := nsInode(netnsOf(pid)); err == nil && ino == c.ino {
			c.pid, c.path = pid, netnsOf(pid)
			return true
		}
	}
	return false
}

// reportChanges compares the contents of a namespace with the reported ones, and yields the difference.
func (w *dockerWatch) reportChanges(ino uint64) bool {
	now := map[string]Workload{}
	list := w.inside(ino)
	if len(list) == 0 {
		w.subs.remove(ino)
		delete(w.bare, ino)
	} else if slices.ContainsFunc(list, func(c *container) bool { return c.host() }) {
		for _, c := range list {
			x := c.workload(w.src.cfg.Node)
			x.HostNet, x.NetNS = true, c.path
			now[x.ID] = x
		}
	} else if x, ok := w.joined(ino, list); ok {
		delete(w.bare, ino)
		now[x.ID] = x
	}
	before := w.reported[ino]
	if w.reported[ino] = now; len(now) == 0 {
		delete(w.reported, ino)
	}
	for _, id := range sortedKeys(before) {
		if _, still := now[id]; !still && !w.yield(Event{Kind: Removed, Workload: Workload{ID: id}}) {
			return false
		}
	}
	for _, id := range sortedKeys(now) {
		if x := now[id]; !reflect.DeepEqual(before[id], x) && !w.yield(Event{Kind: Added, Workload: x}) {
			return false
		}
	}
	return true
}

// inside returns the containers of a namespace, its maker first.
func (w *dockerWatch) inside(ino uint64) []*container {
	var list []*container
	for _, c := range w.containers {
		if c.ino == ino {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *container) int { return primary(&a.dockerContainer, &b.dockerContainer) })
	return list
}

// joined returns the one workload of the containers of a namespace, if it has an address or was reported
// before: what happens inside does not end its enforcement.
func (w *dockerWatch) joined(ino uint64, list []*container) (Workload, bool) {
	x := list[0].workload(w.src.cfg.Node)
	if list[0].shares() {
		// The maker has ended before those that share its namespace, which stay in its group.
		if m := w.containers[list[0].maker()]; m != nil {
			y := m.workload(w.src.cfg.Node)
			x.Namespace, x.Service = y.Namespace, y.Service
		}
	}
	for _, c := range list[1:] {
		x.Members = append(x.Members, c.name)
		x.Containers = append(x.Containers, c.id)
	}
	slices.Sort(x.Members)
	var before *Workload
	for _, r := range w.reported[ino] {
		before = &r
	}
	for _, c := range list {
		if !w.refresh(c) {
			continue
		}
		if in, err := inspect(c.path, ino, before, true); err == nil && (before != nil || in.addressed && len(in.interfaces) > 0) {
			x.NetNS, x.Interfaces = c.path, in.interfaces
			return x, true
		}
	}
	return x, false
}

// verify finds containers whose end was not reported, as while the daemon is unavailable.
func (w *dockerWatch) verify() bool {
	for _, id := range sortedKeys(w.containers) {
		c := w.containers[id]
		if c.ino != 0 && !w.refresh(c) && !w.dropNamespace(c) {
			return false
		}
	}
	return true
}
