package hostmode

import (
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// TestRecordQueue: records come out once, in order; without room they are dropped, which the next exchange reports.
func TestRecordQueue(t *testing.T) {
	var q recordQueue
	for i := range maxRecords + 2 {
		if !q.full() {
			q.add(&flow.Record{Session: uint64(i)})
		}
	}
	list, lossy := q.exchange()
	if len(list) != maxRecords || list[7].Session != 7 || !lossy || q.dropped != 2 {
		t.Errorf("%d records, lossy %v, %d dropped", len(list), lossy, q.dropped)
	}
	q.add(&flow.Record{Session: 9})
	q.giveBack(list)
	if list, lossy = q.exchange(); len(list) != 1 || list[0].Session != 9 || lossy {
		t.Errorf("then %d records, lossy %v", len(list), lossy)
	}
}

// TestSources: an owner is known until a while after its connection, while its namespace is watched.
func TestSources(t *testing.T) {
	key := func(space uint32, port uint16) *tuple {
		return &tuple{space: space, local: packet.Addr{15: 1}, localPort: port, proto: packet.ProtoTCP}
	}
	s := newSources(3)
	for port := range uint16(3) {
		s.hold(key(uint32(port), port), "web", nil)
	}
	s.hold(key(0, 9), "late", nil)
	if len(s.owners) != 3 {
		t.Fatalf("%d owners, the limit is 3", len(s.owners))
	}
	now := time.Now()
	s.release(key(0, 0), now)
	s.release(key(0, 8), now) // unknown
	spaces := map[uint32]*space{0: {}, 1: {}}
	s.deleteExpired(now, spaces)
	if len(s.owners) != 2 {
		t.Errorf("%d owners, want those of two watched namespaces", len(s.owners))
	}
	s.deleteExpired(now.Add(heldAfter+time.Nanosecond), spaces)
	if _, ok := s.owners[source{1, packet.Addr{15: 1}, 1, packet.ProtoTCP}]; len(s.owners) != 1 || !ok {
		t.Errorf("kept: %v", s.owners)
	}
}
