package host

import "slices"

// refit follows the host's set of plugins.
func (a *asker) refit() {
	set := a.h.set.Load()
	if set == a.set {
		return
	}
	a.set = set
	was := a.links
	a.links = make([]*link, 0, len(*set))
	for _, p := range *set {
		i := slices.IndexFunc(was, func(k *link) bool { return k.p == p })
		if i < 0 {
			a.links = append(a.links, &link{p: p})
			continue
		}
		was[i].leaving = false
		a.links = append(a.links, was[i])
		was = slices.Delete(slices.Clone(was), i, i+1)
	}
	for _, k := range was {
		k.leaving = true
		a.links = append(a.links, k)
	}
}

// prune drops links of leaving plugins without sessions.
func (a *asker) prune() {
	a.links = slices.DeleteFunc(a.links, func(k *link) bool {
		return k.leaving && !k.up() && k.p.live.Load() == nil && !a.any(k, asking) && !a.any(k, parked)
	})
}

// connect opens streams to started plugins.
func (a *asker) connect() {
	for _, k := range a.links {
		st, l := k.stream.Load(), k.p.live.Load()
		if l == nil || st != nil && (!st.dead.Load() || st.live == l) {
			continue
		}
		if st != nil && a.holds(k) {
			continue // Poll ends the sessions of the previous run first
		}
		k.reset(l.open(a.nudge))
	}
}

// holds reports whether the dead stream of a link still has sessions.
func (a *asker) holds(k *link) bool { return a.any(k, asking) }

// any reports whether any session's part of a link is in a state.
func (a *asker) any(k *link, s partState) bool {
	for _, e := range a.sessions {
		if pt := e.of(k); pt != nil && pt.state == s {
			return true
		}
	}
	return false
}
