package session

// Config says how a table is made. The zero value is usable.
type Config struct {
	// Max is how many sessions the table holds at most; 0 is 1<<20.
	Max int
	// Timeouts by state; zero fields take their defaults.
	Timeouts Timeouts
	// Evict, when set, is called with a session that has to make room for another, before
	// it is deleted; it must not change the table.
	Evict func(*Session)
}

// Stats counts what a table could not keep.
type Stats struct {
	Evicted uint64 // sessions deleted before their time to make room
	Full    uint64 // sessions refused because there was nothing to evict
}

// Table holds the sessions of one worker. It is not safe for concurrent use. A
// *Session stays valid, and at its place, until it is deleted.
type Table struct{}

// New makes an empty table. Memory comes with sessions and goes with them.
func New(c Config) *Table { return &Table{} }

// Len is how many sessions there are.
func (t *Table) Len() int { return 0 }

// Stats is what was evicted and refused so far.
func (t *Table) Stats() Stats { return Stats{} }

// Lookup finds a session; nil if there is none.
func (t *Table) Lookup(k *Key) *Session { return nil }

// Insert adds a session, cleared but for Key, Created and Last, and armed with its
// timeout. The key must not be there already. When the table is full, it evicts the
// session that is the soonest to end anyway; nil when there is none to be spared.
func (t *Table) Insert(k *Key, now int64) *Session { return nil }

// Delete removes a session; its memory is used again.
func (t *Table) Delete(s *Session) {}

// Each calls fn for every session until it says false. fn may delete the session it
// was given, and no other.
func (t *Table) Each(fn func(*Session) bool) {}

// EachOf is Each for one endpoint.
func (t *Table) EachOf(endpoint uint32, fn func(*Session) bool) {}

// Ref is a session's handle, never 0; it is valid as long as the session is.
func (t *Table) Ref(s *Session) uint32 { return s.ref }

// At is the session of a handle; nil when the handle is 0 or its session gone.
// Handles are used again.
func (t *Table) At(ref uint32) *Session { return nil }

// Timeout is how long s is kept after its last packet, by the table's timeouts, ns.
func (t *Table) Timeout(s *Session) int64 { return 0 }

// Schedule sets the time when Expire looks at a session, ns since the epoch. Moving it
// later costs one store: the wheel finds out when the old time comes.
func (t *Table) Schedule(s *Session, deadline int64) {}

// Expire looks at sessions whose deadline has come, at most budget of them, and returns
// how many it looked at: budget means that there may be more. fn says until when a
// session is to be kept; if that is not after now, the session is deleted.
// fn must not delete or insert sessions itself.
func (t *Table) Expire(now int64, budget int, fn func(*Session) (keepUntil int64)) int { return 0 }

// Export removes the sessions of an endpoint and gives each to fn, which copies what
// it keeps; Aux is the caller's to carry over.
func (t *Table) Export(endpoint uint32, fn func(*Session)) {}

// Import adds a session that another table exported, with everything that it knew, armed
// with the deadline it had. It returns nil when the table is full or the key is taken.
func (t *Table) Import(s Session) *Session { return nil }
