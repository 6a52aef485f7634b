package related_test

import (
	"math/rand/v2"
	"testing"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/related"
)

func addr(n int) packet.Addr {
	return packet.Addr{10: 0xff, 11: 0xff, 12: 10, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}
}

func key(endpoint uint32, at, port, from int) related.Key {
	k := related.Key{Endpoint: endpoint, Proto: packet.ProtoTCP, At: addr(at), Port: uint16(port)}
	if from != 0 {
		k.From = addr(from)
	}
	return k
}

func TestFind(t *testing.T) {
	var tab related.Table
	one, many := related.Expectation{Key: key(1, 1, 80, 2), Until: 100, ID: 7}, related.Expectation{Key: key(1, 1, 90, 0), Until: 100, Many: true, ID: 8}
	if !tab.Add(&one) || !tab.Add(&many) || tab.Len() != 2 {
		t.Fatal("not added")
	}
	v6 := key(1, 1, 80, 2)
	v6.IPv6 = true
	udp := key(1, 1, 80, 2)
	udp.Proto = packet.ProtoUDP
	for _, tt := range []struct {
		name    string
		key     related.Key
		anyFrom bool
		now     int64
		want    uint64
	}{
		{"the one", key(1, 1, 80, 2), false, 100, 7},
		{"too late", key(1, 1, 80, 2), true, 101, 0},
		{"from another host", key(1, 1, 80, 3), true, 1, 0},
		{"to another port", key(1, 1, 81, 2), true, 1, 0},
		{"to another host", key(1, 2, 80, 1), true, 1, 0},
		{"on another endpoint", key(2, 1, 80, 2), true, 1, 0},
		{"of the other family", v6, true, 1, 0},
		{"of another protocol", udp, true, 1, 0},
		{"from any", key(1, 1, 90, 5), true, 1, 8},
		{"from any, not on the link", key(1, 1, 90, 5), false, 1, 0},
	} {
		e, ok := tab.Find(&tt.key, tt.anyFrom, tt.now)
		if ok != (tt.want != 0) || ok && e.ID != tt.want {
			t.Errorf("%s: got %d, %v want %d", tt.name, e.ID, ok, tt.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { tab.Find(&one.Key, true, 1) }); n != 0 {
		t.Errorf("Find: %v allocations", n)
	}
	tab.Remove(&one.Key)
	tab.Remove(&one.Key)
	if _, ok := tab.Find(&one.Key, true, 1); ok || tab.Len() != 1 {
		t.Error("removed and still there")
	}
}

// TestBounds: one peer cannot use up an endpoint's part, nor one endpoint the whole, and what has ended makes room.
func TestBounds(t *testing.T) {
	var tab related.Table
	added := 0
	for n := range 2 * related.MaxOfPeer {
		e := related.Expectation{Key: key(1, 1, n, 2), Peer: addr(2), Until: 100}
		if tab.Add(&e) {
			added++
		}
	}
	if added != related.MaxOfPeer {
		t.Errorf("of one peer: %d", added)
	}
	other := related.Expectation{Key: key(1, 1, 1, 3), Peer: addr(3), Until: 300}
	if !tab.Add(&other) {
		t.Error("another peer finds no room")
	}
	again := other
	again.Until = 400
	if !tab.Add(&again) || tab.Len() != added+1 {
		t.Error("the same again is another")
	}
	stolen := other
	stolen.Peer = addr(9)
	if tab.Add(&stolen) {
		t.Error("taken over by another peer")
	}
	for n := range 2 * related.MaxOfEndpoint {
		e := related.Expectation{Key: key(2, n, 1, 2), Peer: addr(n + 10), Until: 100}
		tab.Add(&e)
	}
	if got := tab.Len() - added - 1; got != related.MaxOfEndpoint {
		t.Errorf("of one endpoint: %d", got)
	}
	for range 2 * tab.Len() {
		tab.Expire(1, 200)
	}
	if tab.Len() != 1 {
		t.Errorf("%d left after their end", tab.Len())
	}
	if got := tab.Take(1); len(got) != 1 || got[0].Until != 400 || tab.Len() != 0 || tab.Take(1) != nil {
		t.Errorf("took %v", got)
	}
}

// TestTableAgainstModel does anything, and compares with a plain map.
func TestTableAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 7))
		var tab related.Table
		model := map[related.Key]int64{}
		for range 3000 {
			k := key(uint32(r.IntN(3)), r.IntN(5), r.IntN(5), 1+r.IntN(3))
			switch r.IntN(4) {
			case 0, 1:
				e := related.Expectation{Key: k, Until: int64(r.IntN(100))}
				if tab.Add(&e) {
					model[k] = e.Until
				}
			case 2:
				tab.Remove(&k)
				delete(model, k)
			default:
				now := int64(r.IntN(100))
				tab.Expire(r.IntN(100), now)
				for k, until := range model {
					if _, ok := tab.Find(&k, false, 0); !ok {
						if until >= now {
							t.Fatalf("seed %d: %v is gone before its time", seed, k)
						}
						delete(model, k)
					}
				}
			}
			if tab.Len() != len(model) {
				t.Fatalf("seed %d: %d, want %d", seed, tab.Len(), len(model))
			}
			e, ok := tab.Find(&k, false, 0)
			if until, want := model[k]; ok != want || ok && e.Until != until {
				t.Fatalf("seed %d: %v, %v", seed, e.Until, ok)
			}
		}
	}
}
