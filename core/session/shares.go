package session

// workloadLists are the lists of all workloads.
type workloadLists map[uint32]workloadList

// workloadList is the list of a workload's sessions, by ownNext and ownPrev.
type workloadList struct {
	head, tail uint32 // refs; those added last are first
	n          int
}

// shareWork bounds the sessions that one eviction for a workload's share examines.
const shareWork = 64

// room makes room for one more session of a workload, and reports whether there is any. A
// workload whose share is used up makes room itself, and only that: as the shares shrink with
// the free part of the table, which they never use up, none can fill it for others.
func room(t *Table, workload uint32, now int64) bool {
	n := t.lists[workload].n
	if t.cfg.Share > 0 && n > 0 && n >= t.cfg.Share*(t.cfg.Max-t.n) {
		return evictOwn(t, workload, now)
	}
	return t.n < t.cfg.Max || t.evict(workload, now)
}

// evictOwn deletes an expendable session of a workload, the oldest first, but an idle one only
// where it finds none that is cheap. Those that it keeps are moved to the front of the list, so
// that a later call gets further.
func evictOwn(t *Table, workload uint32, now int64) bool {
	var idle *Session
	for range min(t.lists[workload].n, shareWork) {
		s := t.store.at(t.lists[workload].tail)
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

// link adds a session to the front of its workload's list.
func (ls workloadLists) link(st *store, s *Session) {
	l := ls[s.Key.Workload]
	s.ownNext, s.ownPrev = l.head, 0
	if l.head != 0 {
		st.at(l.head).ownPrev = s.ref
	} else {
		l.tail = s.ref
	}
	l.head = s.ref
	l.n++
	ls[s.Key.Workload] = l
}

// unlink removes a session from its workload's list.
func (ls workloadLists) unlink(st *store, s *Session) {
	l := ls[s.Key.Workload]
	if s.ownNext != 0 {
		st.at(s.ownNext).ownPrev = s.ownPrev
	} else {
		l.tail = s.ownPrev
	}
	if s.ownPrev != 0 {
		st.at(s.ownPrev).ownNext = s.ownNext
	} else {
		l.head = s.ownNext
	}
	if l.n--; l.n == 0 {
		delete(ls, s.Key.Workload)
		return
	}
	ls[s.Key.Workload] = l
}
