package own

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicenet/sluice/core/packet"
)

// former holds the addresses that a workload no longer has. Reading takes no lock.
type former struct {
	mu   sync.Mutex                                    // held while writing
	gone atomic.Pointer[map[packet.Addr]time.Duration] // since start, when each was removed; replaced, not changed
}

const (
	// formerFor is how long a removed address is known: TCP sends again for a quarter of an hour
	// (net.ipv4.tcp_retries2).
	formerFor = 16 * time.Minute
	// maxFormer bounds them; a workload may change its addresses as it likes.
	maxFormer = 64
)

// replaced compares two sets, of which next replaced the other now.
func (f *former) replaced(before, next *Set, now time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := map[packet.Addr]time.Duration{}
	if old := f.gone.Load(); old != nil {
		maps.Copy(list, *old)
	}
	maps.DeleteFunc(list, func(a packet.Addr, at time.Duration) bool {
		_, again := next.addrs[a]
		return again || now-at > formerFor
	})
	for a := range before.addrs {
		if _, still := next.addrs[a]; !still && len(list) < maxFormer {
			list[a] = now
		}
	}
	f.gone.Store(&list)
}

// has reports whether an address was removed not long ago.
func (f *former) has(a *packet.Addr, now time.Duration) bool {
	list := f.gone.Load()
	if list == nil {
		return false
	}
	at, ok := (*list)[*a]
	return ok && now-at <= formerFor
}
