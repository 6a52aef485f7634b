package session_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// shareKey returns the key of a workload's i-th connection, of either family.
func shareKey(workload uint32, i int, ipv6 bool) session.Key {
	src, dst := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), netip.AddrFrom4([4]byte{10, 0, 0, byte(workload)})
	if ipv6 {
		src, dst = netip.MustParseAddr(fmt.Sprintf("fd00:1::%x", i+1)), netip.MustParseAddr(fmt.Sprintf("fd00::%x", workload))
	}
	p := packet.Packet{Src: packet.AddrFrom(src), Dst: packet.AddrFrom(dst), SrcPort: uint16(i), DstPort: 80, Proto: packet.ProtoTCP, IPv6: ipv6}
	k, _ := session.KeyOf(&p, workload)
	return k
}

// TestShares: a workload that opens connections without end takes its share of the table, and
// neither a session of another workload nor the room for its next ones.
func TestShares(t *testing.T) {
	const most, share = 800, 7
	for _, ipv6 := range []bool{false, true} {
		for _, phase := range []flow.Phase{flow.PhaseOpening, flow.PhaseEstablished} {
			t.Run(fmt.Sprintf("ipv6=%v,%v", ipv6, phase), func(t *testing.T) {
				evicted := map[uint32]int{}
				tab := session.New(session.Config{Max: most, Share: share, Evict: func(s *session.Session) { evicted[s.Key.Workload]++ }})
				now := int64(1e18)
				insert := func(workload uint32, i int, phase flow.Phase) bool {
					k := shareKey(workload, i, ipv6)
					s := tab.Insert(&k, now)
					if s != nil {
						s.State = phase
					}
					return s != nil
				}
				for i := range 20 { // a neighbour's open, and half-open ones
					insert(1, i, []flow.Phase{flow.PhaseEstablished, flow.PhaseOpening}[i&1])
				}
				refused := 0
				for hog := uint32(2); hog <= 3; hog++ {
					for i := range 3 * most {
						now += 1e5
						if !insert(hog, i, phase) {
							refused++
						}
					}
				}
				if phase == flow.PhaseEstablished && (refused == 0 || len(evicted) != 0) {
					t.Errorf("open connections: got %d refused and evicted %v, want only refusals", refused, evicted)
				}
				if phase == flow.PhaseOpening && (refused != 0 || evicted[2] == 0 || evicted[3] == 0) {
					t.Errorf("half-open connections: got %d refused and evicted %v, want only own evictions", refused, evicted)
				}
				n := 0
				tab.EachOf(1, func(*session.Session) bool { n++; return true })
				if n != 20 || evicted[1] != 0 {
					t.Errorf("neighbour's sessions: got %d and %d evicted, want all 20", n, evicted[1])
				}
				for i := range 10 {
					if !insert(1, 100+i, flow.PhaseOpening) || !insert(4, i, flow.PhaseOpening) {
						t.Fatalf("connection %d of others has no room: %d of %d used", i, tab.Len(), most)
					}
				}
			})
		}
	}
}

// TestShareSparesOpen: in its own share, too, a workload's open connections stay, however many
// half-open ones come.
func TestShareSparesOpen(t *testing.T) {
	tab := session.New(session.Config{Max: 400, Share: 7})
	now := int64(1e18)
	var open []session.Key
	for i := range 5000 {
		now += 1e6
		k := shareKey(1, i, i&1 == 1)
		s := tab.Insert(&k, now)
		if s == nil {
			t.Fatalf("connection %d was refused", i)
		}
		if s.State = flow.PhaseOpening; i < 40 {
			s.State = flow.PhaseEstablished
			open = append(open, k)
		}
	}
	for i := range open {
		if tab.Lookup(&open[i]) == nil {
			t.Errorf("open connection %d was evicted", i)
		}
	}
}

// TestIdleOfOthersStays: in a table that is full, an established connection of another endpoint stays, however
// long it is idle; one of the same endpoint goes only where nothing half-open is left.
func TestIdleOfOthersStays(t *testing.T) {
	const most = 64
	tab := session.New(session.Config{Max: most})
	now := int64(1e18)
	insert := func(endpoint uint32, i int, phase flow.Phase) *session.Session {
		k := shareKey(endpoint, i, i&1 == 1)
		s := tab.Insert(&k, now)
		if s != nil {
			s.State = phase
		}
		return s
	}
	for i := range most {
		insert(1, i, flow.PhaseEstablished)
	}
	now += 3600e9
	if insert(2, 0, flow.PhaseOpening) != nil {
		t.Error("a half-open connection displaced another endpoint's open one")
	}
	if insert(1, most, flow.PhaseOpening) == nil {
		t.Error("an endpoint's idle connection did not make room for its own new one")
	}
	if insert(2, 1, flow.PhaseOpening) == nil {
		t.Error("a half-open connection did not make room")
	}
	n := 0
	tab.EachOf(1, func(s *session.Session) bool { n++; return true })
	if n != most-1 {
		t.Errorf("%d connections of the first endpoint are left, want %d", n, most-1)
	}
}

// TestHalfOpenGoFirst: where an endpoint has used up its share, its half-open connections make room before its
// idle ones, whichever are older.
func TestHalfOpenGoFirst(t *testing.T) {
	tab := session.New(session.Config{Max: 80, Share: 1})
	now := int64(1e18)
	var idle []session.Key
	for i := range 40 {
		k := shareKey(1, i, false)
		s := tab.Insert(&k, now)
		if s.State = flow.PhaseOpening; i < 20 {
			s.State = flow.PhaseEstablished
			idle = append(idle, k)
		}
	}
	now += 3600e9
	for i := range 20 {
		k := shareKey(1, 100+i, false)
		s := tab.Insert(&k, now)
		if s == nil {
			t.Fatalf("connection %d has no room", i)
		}
		s.State = flow.PhaseEstablished
	}
	for i := range idle {
		if tab.Lookup(&idle[i]) == nil {
			t.Errorf("idle connection %d made room although half-open ones were there", i)
		}
	}
	k := shareKey(1, 200, false)
	if tab.Insert(&k, now) == nil {
		t.Error("no idle connection made room where nothing else was left")
	}
}
