package session

// endpointLists are the lists of all endpoints.
type endpointLists map[uint32]endpointList

// endpointList is the list of an endpoint's sessions, by epNext and epPrev.
type endpointList struct {
	head, tail uint32 // refs; those added last are first
	n          int
}

// shareWork bounds the sessions that one eviction for an endpoint's share examines.
const shareWork = 64

// room makes room for one more session of an endpoint, and reports whether there is any. An
// endpoint whose share is used up makes room itself, and only that: as the shares shrink with
// the free part of the table, which they never use up, none can fill it for others.
func room(t *Table, endpoint uint32, now int64) bool {
	n := t.lists[endpoint].n
	if t.cfg.Share > 0 && n > 0 && n >= t.cfg.Share*(t.cfg.Max-t.n) {
		return evictOwn(t, endpoint, now)
	}
	return t.n < t.cfg.Max || t.evict(endpoint, now)
}

// evictOwn deletes an expendable session of an endpoint, the oldest first, but an idle one only
// where it finds none that is cheap. Those that it keeps are moved to the front of the list, so
// that a later call gets further.
func evictOwn(t *Table, endpoint uint32, now int64) bool {
	var idle *Session
	for range min(t.lists[endpoint].n, shareWork) {
		s := t.store.at(t.lists[endpoint].tail)
		if s.cheap() {
			discard(t, s)
			return true
		}
		if idle == nil && s.idle(now) {
			idle = s
		}
		t.lists.unlink(&t.store, s)
		t.lists.link(&t.store, s)
	}
	if idle != nil {
		discard(t, idle)
	}
	return idle != nil
}

// discard deletes a session for another one.
func discard(t *Table, s *Session) {
	if t.cfg.Evict != nil {
		t.cfg.Evict(s)
	}
	t.Delete(s)
	t.stats.Evicted++
}

// link adds a session to the front of its endpoint's list.
func (ls endpointLists) link(st *store, s *Session) {
	l := ls[s.Key.Endpoint]
	s.epNext, s.epPrev = l.head, 0
	if l.head != 0 {
		st.at(l.head).epPrev = s.ref
	} else {
		l.tail = s.ref
	}
	l.head = s.ref
	l.n++
	ls[s.Key.Endpoint] = l
}

// unlink removes a session from its endpoint's list.
func (ls endpointLists) unlink(st *store, s *Session) {
	l := ls[s.Key.Endpoint]
	if s.epNext != 0 {
		st.at(s.epNext).epPrev = s.epPrev
	} else {
		l.tail = s.epPrev
	}
	if s.epPrev != 0 {
		st.at(s.epPrev).epNext = s.epNext
	} else {
		l.head = s.epNext
	}
	if l.n--; l.n == 0 {
		delete(ls, s.Key.Endpoint)
		return
	}
	ls[s.Key.Endpoint] = l
}
