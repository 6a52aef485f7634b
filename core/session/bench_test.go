package session_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

func fullTable(n int) (*session.Table, []session.Key) {
	tab := session.New(session.Config{Max: n + 1})
	keys := make([]session.Key, n)
	for i := range keys {
		keys[i] = key(i)
		keys[i].BPort = uint16(i >> 16)
		tab.Insert(&keys[i], start)
	}
	rand.Shuffle(n, func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return tab, keys
}

func BenchmarkTable(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		tab, keys := fullTable(n)
		miss := make([]session.Key, len(keys))
		for i, k := range keys {
			k.Proto = packet.ProtoUDP
			miss[i] = k
		}
		b.Run(fmt.Sprintf("hit/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if tab.Lookup(&keys[i%n]) == nil {
					b.Fatal("not found")
				}
			}
		})
		b.Run(fmt.Sprintf("miss/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if tab.Lookup(&miss[i%n]) != nil {
					b.Fatal("found")
				}
			}
		})
		b.Run(fmt.Sprintf("delete+insert/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				k := &keys[i%n]
				tab.Delete(tab.Lookup(k))
				tab.Insert(k, start)
			}
		})
	}
}

// BenchmarkInsert fills a table from empty to a million, again and again.
func BenchmarkInsert(b *testing.B) {
	const n = 1_000_000
	_, keys := fullTable(n)
	var tab *session.Table
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if i%n == 0 {
			tab = session.New(session.Config{Max: n})
		}
		tab.Insert(&keys[i%n], start)
	}
}

// BenchmarkMemory reports bytes per session, and the cost of a collection with them alive.
func BenchmarkMemory(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var m0, m1, m2 runtime.MemStats
			for range b.N {
				runtime.GC()
				runtime.ReadMemStats(&m0)
				tab, worst := session.New(session.Config{}), time.Duration(0)
				k := key(0)
				for i := range n {
					k.APort, k.B[0], k.B[1] = uint16(i), byte(i>>16), byte(i>>24)
					at := time.Now()
					tab.Insert(&k, start)
					worst = max(worst, time.Since(at))
				}
				runtime.GC()
				runtime.ReadMemStats(&m1)
				at := time.Now()
				runtime.GC()
				gc := time.Since(at)
				runtime.ReadMemStats(&m2)
				b.ReportMetric(float64(m1.HeapAlloc-m0.HeapAlloc)/float64(n), "B/session")
				b.ReportMetric(float64(gc.Microseconds()), "us/GC")
				b.ReportMetric(float64(m2.PauseTotalNs-m1.PauseTotalNs)/1e3, "us-pause/GC")
				b.ReportMetric(float64(worst.Microseconds()), "us-worst-insert")
				runtime.KeepAlive(tab)
			}
		})
	}
}

func BenchmarkExpire(b *testing.B) {
	tab, _ := fullTable(1_000_000)
	now, looked := start, 0
	b.ResetTimer()
	for range b.N {
		now += 1e6
		looked += tab.Expire(now, 64, func(s *session.Session) int64 { return now + 20e9 })
	}
	b.ReportMetric(float64(looked)/float64(b.N), "sessions/op")
}

func BenchmarkKeyOf(b *testing.B) {
	p := packet.Packet{SrcPort: 5000, DstPort: 80, Proto: packet.ProtoTCP}
	p.Src[15], p.Dst[15] = 2, 1
	for range b.N {
		if k, _ := session.KeyOf(&p, 1); k.APort != 80 {
			b.Fatal(k)
		}
	}
}

func BenchmarkTrack(b *testing.B) {
	s := session.Session{Key: key(1), ClientIsA: true}
	s.Track(&packet.Packet{Flags: packet.SYN, Seq: 1, Window: 65535}, 0, start)
	s.Track(&packet.Packet{Flags: packet.SYN | packet.ACK, Seq: 1, Ack: 2, Window: 65535}, 1, start)
	data := packet.Packet{Flags: packet.ACK, Seq: 2, Ack: 2, Window: 65535, PayloadWire: 1000}
	ack := packet.Packet{Flags: packet.ACK, Seq: 2, Window: 65535}
	b.ReportAllocs()
	for range b.N {
		a := s.Track(&data, 0, start)
		data.Seq += 1000
		ack.Ack = data.Seq
		if z := s.Track(&ack, 1, start); !a.Valid || !z.Valid {
			b.Fatal(a, z)
		}
	}
}
