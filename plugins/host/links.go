package host

import "slices"

// links are a worker's connections to plugins.
type links []*link

// follow returns the links to a set of plugins in order, then those to leaving ones.
func (ks links) follow(set []*process) links {
	was, now := ks, make(links, 0, len(set))
	for _, p := range set {
		i := slices.IndexFunc(was, func(k *link) bool { return k.p == p })
		if i < 0 {
			now = append(now, &link{p: p})
			continue
		}
		was[i].leaving = false
		now = append(now, was[i])
		was = slices.Delete(slices.Clone(was), i, i+1)
	}
	for _, k := range was {
		k.leaving = true
		now = append(now, k)
	}
	return now
}

// withoutLeft returns the links without those of leaving plugins that have no sessions.
func (ks links) withoutLeft(s *sessions) links {
	return slices.DeleteFunc(ks, func(k *link) bool {
		return k.leaving && !k.up() && k.p.live.Load() == nil && !s.any(k, asking) && !s.any(k, parked)
	})
}

// flushAll sends the pending requests, and delayed messages, too.
func (ks links) flushAll(n *counters) {
	for _, k := range ks {
		k.seal()
		k.push(n)
	}
}

// idle reports whether there is nothing to wait for; parked whether sessions wait for a plugin to start.
func (ks links) idle(parked bool) bool {
	for _, k := range ks {
		if k.up() && !k.answered(k.pos) || parked && !k.up() && k.p.soon.Load() {
			return false
		}
	}
	return true
}

// refit follows the host's set of plugins.
func (a *asker) refit() {
	set := a.h.set.Load()
	if set == a.set {
		return
	}
	a.set = set
	a.links = a.links.follow(*set)
}

// connect opens streams to started plugins.
func (a *asker) connect() {
	for _, k := range a.links {
		st, l := k.stream.Load(), k.p.live.Load()
		if l == nil || st != nil && (!st.dead.Load() || st.live == l) {
			continue
		}
		if st != nil && a.sessions.any(k, asking) {
			continue // Poll ends the sessions of the previous run first
		}
		k.reset(l.open(a.nudge))
	}
}
