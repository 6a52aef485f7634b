package session

// Config configures a table. The zero value is usable.
type Config struct {
	// Max is the maximum number of sessions; 0 is 1<<20.
	Max int
	// Share is how many sessions a workload may have for each one that the table has room for:
	// of one of 7, a single workload gets 7/8, and each of two 7/15. Beyond that its own closed,
	// half-open or long idle sessions make room for its new ones. 0: there are no shares.
	Share int
	// Timeouts by state; zero fields take their defaults.
	Timeouts Timeouts
	// Evict, when set, is called with a session that is evicted for another, before it is
	// deleted; it must not change the table.
	Evict func(*Session)
}

// Stats counts evictions and refusals of a full table.
type Stats struct {
	Evicted uint64 // sessions deleted early to make room
	Full    uint64 // sessions refused because there was nothing to evict
}

// Table holds the sessions of one worker. It is not safe for concurrent use. A *Session stays
// valid, at the same address, until it is deleted.
type Table struct {
	cfg   Config
	n     int
	index index
	store store
	wheel wheel
	lists workloadLists
	stats Stats
}

// New returns an empty table. It allocates and frees memory with its sessions.
func New(c Config) *Table {
	if c.Max <= 0 {
		c.Max = 1 << 20
	}
	c.Timeouts = c.Timeouts.withDefaults()
	t := &Table{cfg: c, lists: workloadLists{}}
	t.index.init()
	return t
}

// Len returns the number of sessions.
func (t *Table) Len() int { return t.n }

// Stats returns the counts of evictions and refusals so far.
func (t *Table) Stats() Stats { return t.stats }

// Lookup returns the session of a key; nil if there is none.
func (t *Table) Lookup(k *Key) *Session { return t.find(k, t.index.hash(k)) }

func (t *Table) find(k *Key, tag uint32) *Session {
	g := t.index.segment(tag)
	mask := len(g.slots) - 1
	for i := int(tag) & mask; ; i = (i + 1) & mask {
		v := g.slots[i]
		if v == 0 {
			return nil
		}
		if uint32(v>>32) == tag {
			if s := t.store.at(uint32(v)); s.Key == *k {
				return s
			}
		}
	}
}

// Insert adds a session, cleared except for Key, Created and Last, and armed with its
// timeout. The key must not exist. When the table is full, or the workload's share of it, Insert
// evicts a session that is closed, half open or long idle; it returns nil if there is none.
func (t *Table) Insert(k *Key, now int64) *Session {
	s := t.add(k.Workload, t.index.hash(k), now)
	if s == nil {
		return nil
	}
	*s = Session{Key: *k, Created: now, Last: now, ref: s.ref}
	t.setDeadline(s, now+t.cfg.Timeouts.Of(s))
	t.link(s)
	return s
}

// add allocates a session and indexes it.
func (t *Table) add(workload, tag uint32, now int64) *Session {
	if t.n == 0 {
		t.wheel.cur = max(t.wheel.cur, now>>tickBits)
	}
	if !room(t, workload, now) {
		t.stats.Full++
		return nil
	}
	s := t.store.alloc()
	if !t.index.insert(tag, s.ref) {
		t.store.free(s)
		t.stats.Full++
		return nil
	}
	t.n++
	return s
}

// link adds a session to the wheel and its workload's list.
func (t *Table) link(s *Session) {
	t.linkTimer(s)
	t.lists.link(&t.store, s)
}

// Delete removes a session; its memory is reused.
func (t *Table) Delete(s *Session) {
	t.index.remove(t.index.hash(&s.Key), s.ref)
	t.unlinkTimer(s)
	t.lists.unlink(&t.store, s)
	t.store.free(s)
	if t.n--; t.n == 0 || t.n == shrinkAt && t.index.segs > 8*shrinkAt/segmentMax {
		t.shrink()
	}
}

// shrinkAt is the number of sessions at which a far larger index is rebuilt: few enough that
// it takes microseconds.
const shrinkAt = 1024

func (t *Table) shrink() {
	t.index.reset()
	if t.n == 0 {
		return
	}
	t.Each(func(s *Session) bool {
		t.index.insert(t.index.hash(&s.Key), s.ref)
		return true
	})
}

// Each calls fn for every session until it returns false. fn may delete the session it is
// called with, and no other.
func (t *Table) Each(fn func(*Session) bool) {
	for c := range t.store.chunks {
		ch := t.store.chunks[c]
		if ch == nil || t.store.info[c].used == 0 {
			continue
		}
		for i := range ch {
			if ch[i].ref != 0 && !fn(&ch[i]) {
				return
			}
		}
	}
}

// EachOf is Each for one workload.
func (t *Table) EachOf(workload uint32, fn func(*Session) bool) {
	for ref := t.lists[workload].head; ref != 0; {
		s := t.store.at(ref)
		ref = s.ownNext
		if !fn(s) {
			return
		}
	}
}

// Ref returns a session's handle, never 0; it is valid until the session is deleted.
func (t *Table) Ref(s *Session) uint32 { return s.ref }

// At returns the session of a handle; nil when the handle is 0 or its session was deleted.
// Handles are reused.
func (t *Table) At(ref uint32) *Session {
	c := int(ref-1) >> chunkBits
	if ref == 0 || c >= len(t.store.chunks) || t.store.chunks[c] == nil {
		return nil
	}
	if s := t.store.at(ref); s.ref == ref {
		return s
	}
	return nil
}

// Timeouts returns the table's timeouts.
func (t *Table) Timeouts() *Timeouts { return &t.cfg.Timeouts }

// Timeout returns how long s is kept after its last packet, by the table's timeouts, ns.
func (t *Table) Timeout(s *Session) int64 { return t.cfg.Timeouts.Of(s) }

// Unanswered reports whether a conversation has waited for an answer in vain. It is kept: an
// answer that comes late belongs to it.
func (t *Table) Unanswered(s *Session, now int64) bool { return t.cfg.Timeouts.unanswered(s, now) }

// Import adds a session that another table had, with its complete state and deadline. It
// returns nil when the table is full or the key exists.
func (t *Table) Import(s Session) *Session {
	tag := t.index.hash(&s.Key)
	if t.find(&s.Key, tag) != nil {
		return nil
	}
	d := t.add(s.Key.Workload, tag, s.Last)
	if d == nil {
		return nil
	}
	s.ref = d.ref
	*d = s
	t.link(d)
	return d
}
