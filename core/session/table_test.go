package session_test

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// start is a present-day time, so that ticks are as large as in use.
const start = int64(1_750_000_000) * int64(time.Second)

func key(i int) session.Key {
	k := session.Key{Workload: 1, Proto: packet.ProtoTCP, APort: uint16(i), BPort: 80}
	k.A[12], k.A[13] = byte(i>>24), byte(i>>16)
	k.B[15] = 1
	return k
}

func TestKeyOf(t *testing.T) {
	addr := func(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }
	for _, c := range []struct {
		name        string
		src, dst    string
		sport       uint16
		dport       uint16
		rport       uint16 // the reply's ports, from its sender
		rdport      uint16
		proto       uint8
		swapped     bool
		aport       uint16
		wantSameEnd bool
	}{
		{"lower address first", "10.0.0.1", "10.0.0.2", 5000, 80, 80, 5000, packet.ProtoTCP, false, 5000, false},
		{"higher address first", "10.0.0.2", "10.0.0.1", 5000, 80, 80, 5000, packet.ProtoTCP, true, 80, false},
		{"one address, ports decide", "127.0.0.1", "127.0.0.1", 5000, 80, 80, 5000, packet.ProtoUDP, true, 80, false},
		{"IPv6", "fd00::1", "fd00::1:0:0:1", 5000, 80, 80, 5000, packet.ProtoTCP, false, 5000, false},
		{"ICMP echo", "10.0.0.2", "10.0.0.1", 77, 0, 77, 0, packet.ProtoICMP, true, 77, false},
		{"ICMPv6 other", "fd00::1", "fd00::2", 0, 0, 0, 0, packet.ProtoICMPv6, false, 0, false},
		{"same ends", "10.0.0.1", "10.0.0.1", 9, 9, 9, 9, packet.ProtoUDP, false, 9, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := packet.Packet{Src: addr(c.src), Dst: addr(c.dst), SrcPort: c.sport, DstPort: c.dport, Proto: c.proto}
			r := packet.Packet{Src: addr(c.dst), Dst: addr(c.src), SrcPort: c.rport, DstPort: c.rdport, Proto: c.proto}
			k, swapped := session.KeyOf(&p, 7)
			rk, rswapped := session.KeyOf(&r, 7)
			if k != rk || swapped != c.swapped || k.APort != c.aport || k.Workload != 7 {
				t.Errorf("got %v %v and %v, want one key, swapped %v, port %d", k, swapped, rk, c.swapped, c.aport)
			}
			if (rswapped == swapped) != c.wantSameEnd {
				t.Errorf("reply: got swapped %v, as the request", rswapped)
			}
			s := session.Session{Key: k, ClientIsA: !swapped}
			if got, _ := s.Client(); s.DirOf(swapped) != 0 || got != p.Src {
				t.Errorf("first packet: got direction %d from %v", s.DirOf(swapped), got)
			}
			if s.DirOf(rswapped) != 1 && !c.wantSameEnd {
				t.Errorf("reply: got direction 0")
			}
		})
	}
}

func TestExpire(t *testing.T) {
	const tick = 1 << 23
	tab := session.New(session.Config{})
	want := map[uint64]int64{} // id to deadline
	add := func(now, in int64) {
		k := key(len(want))
		s := tab.Insert(&k, now)
		s.ID = uint64(len(want) + 1)
		tab.Schedule(s, now+in)
		want[s.ID] = now + in
	}
	for i := range int64(3000) {
		add(start, i*i*i*7919%int64(5*time.Hour))
		add(start, i*i*i*7919%int64(time.Minute))
	}
	add(start, int64(1000*time.Hour))
	now := start
	step := func() {
		for tab.Expire(now, 100, func(s *session.Session) int64 {
			if d := want[s.ID]; now < d {
				t.Errorf("session %d: got called at %v, want %v", s.ID, now-start, d-start)
			}
			delete(want, s.ID)
			return 0
		}) == 100 {
		}
		for id, d := range want {
			if d+tick < now {
				t.Fatalf("session %d: not called at %v, due %v", id, now-start, d-start)
			}
		}
	}
	for _, d := range []time.Duration{0, time.Nanosecond, tick, 3 * tick, time.Second, 500 * time.Millisecond, time.Minute, 5 * time.Minute, time.Hour, 7 * time.Minute, 4 * time.Hour} {
		for range 5 {
			now += int64(d)
			step()
		}
	}
	if now += int64(980 * time.Hour); tab.Len() != 1 {
		t.Errorf("left: got %d, want the one of 1000 hours", tab.Len())
	}
	tab.Expire(now, 100, func(s *session.Session) int64 { return 0 })
	if tab.Len() != 0 {
		t.Errorf("left after 1000 hours: got %d, want 0", tab.Len())
	}
}

func TestScheduleMoves(t *testing.T) {
	sec := int64(time.Second)
	k := key(1)
	tab := session.New(session.Config{})
	s := tab.Insert(&k, start) // armed for 20 s
	calls := 0
	at := func(in int64, wantCalls int, keep int64) {
		t.Helper()
		tab.Expire(start+in*sec, 10, func(*session.Session) int64 { calls++; return keep })
		if calls != wantCalls {
			t.Fatalf("after %d s: got %d calls, want %d", in, calls, wantCalls)
		}
	}
	at(19, 0, 0)
	tab.Schedule(s, start+1000*sec)
	at(30, 0, 0)
	at(999, 0, 0)
	tab.Schedule(s, start+1002*sec)
	at(1001, 0, 0)
	at(1003, 1, start+2000*sec)
	tab.Schedule(s, start+1010*sec) // earlier
	at(1009, 1, 0)
	at(1011, 2, start+1)
	if tab.Len() != 0 {
		t.Errorf("left: got %d, want 0", tab.Len())
	}
}

func TestExpireIsBounded(t *testing.T) {
	tab := session.New(session.Config{})
	for i := range 50000 { // one coarse slot holds them all
		k := key(i)
		tab.Insert(&k, start)
	}
	looked, calls := 0, 0
	for range 10000 {
		n := tab.Expire(start+int64(time.Minute), 64, func(*session.Session) int64 { calls++; return 0 })
		if looked += n; n > 64 {
			t.Fatalf("one call: got %d steps, want at most 64", n)
		}
	}
	if calls != 50000 || tab.Len() != 0 {
		t.Errorf("got %d calls, %d left, want 50000 and 0 (%d steps)", calls, tab.Len(), looked)
	}
	done := make(chan struct{})
	go func() { // a clock jump from 0 to the present is no work
		defer close(done)
		k := key(1)
		tab := session.New(session.Config{})
		tab.Insert(&k, 0)
		tab.Expire(start, 1000, func(*session.Session) int64 { return start * 2 })
		tab.Expire(start*3, 1000, func(*session.Session) int64 { return 0 })
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("a clock jump was walked tick by tick")
	}
}

func TestEvict(t *testing.T) {
	var out []uint64
	tab := session.New(session.Config{Max: 200, Evict: func(s *session.Session) { out = append(out, s.ID) }})
	fill := func(from, n int, state flow.Phase) {
		for i := from; i < from+n; i++ {
			k := key(i)
			s := tab.Insert(&k, start+int64(i)*1e7)
			s.ID, s.State = uint64(i), state
			tab.Schedule(s, s.Last+tab.Timeout(s))
		}
	}
	fill(0, 190, flow.PhaseEstablished)
	fill(190, 5, flow.PhaseOpening)
	fill(195, 3, flow.PhaseRefused)
	fill(198, 2, flow.PhaseClosed)
	for i := range 10 {
		fill(200+i, 1, flow.PhaseEstablished)
	}
	if len(out) != 10 || tab.Len() != 200 {
		t.Fatalf("evicted: got %v, want ten", out)
	}
	for i, id := range out {
		if id < 190 || i < 3 && (id < 195 || id > 197) || i >= 3 && i < 5 && id < 198 {
			t.Errorf("evicted: got %v, want refused, closed, opening", out)
			break
		}
	}
	k := key(5000)
	if s := tab.Insert(&k, start+5e9); s != nil || tab.Stats() != (session.Stats{Evicted: 10, Full: 1}) {
		t.Errorf("full of live sessions: got %v, %+v", s, tab.Stats())
	}
	if s := tab.Insert(&k, start+int64(10*time.Minute)); s == nil || tab.Stats().Evicted != 11 {
		t.Errorf("full of silent sessions: got %v, %+v", s, tab.Stats())
	}
}

func TestExportImport(t *testing.T) {
	from, to := session.New(session.Config{}), session.New(session.Config{Max: 400})
	for i := range 1000 {
		k := key(i)
		k.Workload = uint32(i % 3)
		s := from.Insert(&k, start)
		s.ID, s.Packets = uint64(i), [2]uint64{uint64(i), 1}
		from.Schedule(s, start+int64(i)*1e6)
	}
	n := 0
	export(from, 1, func(s *session.Session) {
		got := to.Import(*s)
		if n++; got == nil || got.ID%3 != 1 || got.Packets[0] != got.ID || to.Lookup(&s.Key) != got || from.Lookup(&s.Key) != nil {
			t.Fatalf("session %d: got %v", s.ID, got)
		}
		if to.Import(*s) != nil {
			t.Fatalf("session %d: imported twice", s.ID)
		}
	})
	if n != 333 || to.Len() != n || from.Len() != 667 {
		t.Errorf("got %d, %d there and %d left, want 333, 333, 667", n, to.Len(), from.Len())
	}
	due := 0
	to.Expire(start+500e6, 1000, func(s *session.Session) int64 { due++; return 0 })
	if due < 165 || due > 167 { // the wheel is up to a tick late
		t.Errorf("deadlines: got %d due after half a second, want 165 to 167", due)
	}
	left := 0
	from.EachOf(2, func(s *session.Session) bool { left++; from.Delete(s); return true })
	if left != 333 || from.Len() != 334 {
		t.Errorf("workload 2: got %d, want 333", left)
	}
}

func TestCounters(t *testing.T) {
	s := session.Session{ClientIsA: true, Dir: packet.Egress}
	s.Count(0, 100, 5)
	s.Count(1, 1<<33, 6)
	s.MarkReported()
	s.Count(1, 50, 9)
	s.SwapClient()
	packets, bytes := s.Unreported()
	if packets != [2]uint64{1, 0} || bytes != [2]uint64{50, 0} || s.Last != 9 || s.ClientIsA || s.Dir != packet.Ingress {
		t.Errorf("got %v %v %+v", packets, bytes, s)
	}
}

func TestEmptyTableIsSmall(t *testing.T) {
	const n = 64
	var before, after runtime.MemStats
	tabs := make([]*session.Table, n)
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range tabs {
		tabs[i] = session.New(session.Config{})
		for j := range 2000 { // after use
			k := key(j)
			tabs[i].Insert(&k, start)
		}
		tabs[i].Expire(start+int64(time.Hour), 1<<20, func(*session.Session) int64 { return 0 })
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if got := (after.HeapAlloc - before.HeapAlloc) / n; got > 72<<10 {
		t.Errorf("empty table: got %d bytes, want at most 72 KiB", got)
	}
	runtime.KeepAlive(tabs)
}

func TestNoAllocations(t *testing.T) {
	tab := session.New(session.Config{})
	for i := range 5000 {
		k := key(i)
		tab.Insert(&k, start)
	}
	now, keep := start, func(s *session.Session) int64 { return s.Last + tab.Timeout(s) }
	i := 5000
	if got := testing.AllocsPerRun(20000, func() {
		k := key(i)
		s := tab.Insert(&k, now)
		tab.Schedule(s, now+2e9)
		i++
		k = key(i - 5000)
		if s := tab.Lookup(&k); s != nil {
			tab.Delete(s)
		}
		now += 1e6
		tab.Expire(now, 16, keep)
	}); got != 0 {
		t.Errorf("allocations from insert to delete: got %v, want 0", got)
	}
}

// export removes the sessions of a workload from a table, and calls fn for copies of them.
func export(tab *session.Table, workload uint32, fn func(*session.Session)) {
	tab.EachOf(workload, func(s *session.Session) bool {
		out := *s
		tab.Delete(s)
		fn(&out)
		return true
	})
}
