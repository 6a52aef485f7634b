package own_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/core/packet"
)

func addr(s string) *packet.Addr {
	a := packet.AddrFrom(netip.MustParseAddr(s))
	return &a
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestSet(t *testing.T) {
	l := own.New(own.Config{}, own.NewSet(prefixes("10.0.0.5/24", "192.0.2.9/32", "127.0.0.1/8", "fd00::5/64", "10.9.0.1/31"), []own.MAC{{2, 1}, {}}))
	for a, want := range map[string][3]bool{ // own, on link, broadcast
		"10.0.0.5": {true, true}, "10.0.0.6": {false, true}, "10.0.0.255": {false, true, true}, "192.0.2.9": {true}, "192.0.2.8": {},
		"127.0.0.1": {true}, "127.0.0.2": {}, "fd00::5": {true, true}, "fd00::6": {false, true}, "fd01::5": {}, "10.9.0.1": {true, true}, "10.9.0.0": {false, true},
	} {
		if got := [3]bool{l.HasAddr(addr(a), own.Sent), l.OnLink(addr(a)), l.Broadcast(addr(a))}; got != want {
			t.Errorf("%s: got %v, want %v", a, got, want)
		}
	}
	if !l.HasMAC(&own.MAC{2, 1}, own.Sent) || l.HasMAC(&own.MAC{}, own.Sent) || l.HasMAC(&own.MAC{2, 2}, own.Sent) {
		t.Error("MAC addresses")
	}
	if !l.Gateway(&own.MAC{9}) {
		t.Error("gateways that are not known refuse")
	}
}

// TestReadAgain: what is missing is read again, but not for each packet.
func TestReadAgain(t *testing.T) {
	reads := 0
	var now []netip.Prefix
	var err error
	l := own.New(own.Config{Read: func() (*own.Set, error) {
		reads++
		return own.NewSet(now, nil), err
	}}, nil)
	now = prefixes("10.0.0.7/24")
	if !l.HasAddr(addr("10.0.0.7"), own.Sent) || reads != 1 {
		t.Fatalf("an address added later is missing, %d reads", reads)
	}
	for range 1000 {
		if l.HasAddr(addr("10.0.0.8"), own.Sent) {
			t.Fatal("10.0.0.8")
		}
	}
	if reads > 5 {
		t.Errorf("%d reads for 1000 packets", reads)
	}
	time.Sleep(25 * time.Millisecond)
	now = nil
	if l.StillHas(addr("10.0.0.7")) {
		t.Error("a removed address is still there")
	}
	l.Update(own.NewSet(prefixes("10.0.0.9/24"), nil))
	time.Sleep(25 * time.Millisecond)
	if err = errors.New("no"); !l.StillHas(addr("10.0.0.9")) {
		t.Error("an error removes addresses")
	}
}

// TestBudgets: an address that is added, moved or removed is noticed at once, several times within a millisecond,
// while others send as many frames with strange addresses as they can; these cause few readings.
func TestBudgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		var now []netip.Prefix
		l := own.New(own.Config{Read: func() (*own.Set, error) { reads++; return own.NewSet(now, nil), nil }}, nil)
		begin := time.Now()
		for time.Since(begin) < time.Second {
			l.HasAddr(addr("10.9.9.9"), own.Received)
			l.HasMAC(&own.MAC{9}, own.Received)
			time.Sleep(100 * time.Microsecond)
		}
		if reads < 50 || reads > 54 {
			t.Errorf("%d readings in a second, want one in 20 ms, and the first ones", reads)
		}
		for i := range 3 {
			now = prefixes("10.0.0.50/24")
			if !l.HasAddr(addr("10.0.0.50"), own.Sent) {
				t.Errorf("move %d: the address is missing at its new owner", i)
			}
			now = nil
			if l.StillHas(addr("10.0.0.50")) {
				t.Errorf("move %d: the address is still there at its former owner", i)
			}
		}
	})
}

// TestSeveral returns all addresses of a family, in order, where there are several, and not more than are worth
// looking at.
func TestSeveral(t *testing.T) {
	s := own.NewSet(prefixes("10.0.0.9/24", "fd00::5/64", "10.0.0.5/24", "10.0.0.5/32"), nil)
	if got := s.Several(false); len(got) != 2 || got[0] != *addr("10.0.0.5") || got[1] != *addr("10.0.0.9") {
		t.Errorf("IPv4: %v", got)
	}
	if got := s.Several(true); got != nil {
		t.Errorf("IPv6: %v", got)
	}
	if !s.Has(addr("fd00::5")) || s.Has(addr("fd00::6")) {
		t.Error("Has")
	}
	var many []netip.Prefix
	for i := range 1000 {
		many = append(many, netip.MustParsePrefix(fmt.Sprintf("fd00::%x/64", i)))
	}
	if got := own.NewSet(many, nil).Several(true); len(got) != 64 {
		t.Errorf("%d of many", len(got))
	}
}

func TestSameWorkload(t *testing.T) {
	a, b, c := own.New(own.Config{Workload: "a"}, nil), own.New(own.Config{Workload: "a"}, nil), own.New(own.Config{Workload: "b"}, nil)
	none := own.New(own.Config{}, nil)
	if !a.SameWorkload(b) || a.SameWorkload(c) || none.SameWorkload(own.New(own.Config{}, nil)) || !none.SameWorkload(none) {
		t.Error("lists of one workload are not those of the same name")
	}
}

func TestGateways(t *testing.T) {
	l := own.New(own.Config{Gateways: func() (map[own.MAC]struct{}, error) { return map[own.MAC]struct{}{{1}: {}}, nil }}, nil)
	if !l.Gateway(&own.MAC{1}) || l.Gateway(&own.MAC{2}) {
		t.Error("got the wrong gateways")
	}
	l = own.New(own.Config{Gateways: func() (map[own.MAC]struct{}, error) { return nil, errors.New("no") }}, nil)
	if !l.Gateway(&own.MAC{2}) {
		t.Error("gateways that cannot be read refuse")
	}
}

func TestHasAddrDoesNotAllocate(t *testing.T) {
	l := own.New(own.Config{}, own.NewSet(prefixes("10.0.0.5/24"), nil))
	a := addr("10.0.0.5")
	if n := testing.AllocsPerRun(100, func() { l.HasAddr(a, own.Sent) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestFormer: what was the workload's own is known for a while, and no other address.
func TestFormer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := own.New(own.Config{}, own.NewSet(prefixes("10.0.0.5/24", "fd00::5/64"), nil))
		state := func(a string) [2]bool { return [2]bool{l.HasAddr(addr(a), own.Sent), l.Had(addr(a))} }
		want := func(when string, list map[string][2]bool) {
			t.Helper()
			for a, w := range list {
				if got := state(a); got != w {
					t.Errorf("%s: %s is own, former: %v, want %v", when, a, got, w)
				}
			}
		}
		want("at first", map[string][2]bool{"10.0.0.5": {true}, "fd00::5": {true}, "10.0.0.6": {}})
		l.Update(own.NewSet(prefixes("10.0.0.6/24", "fd00::5/64"), nil))
		want("exchanged", map[string][2]bool{"10.0.0.5": {false, true}, "fd00::5": {true}, "10.0.0.6": {true}, "10.0.0.7": {}})
		time.Sleep(10 * time.Minute)
		l.Update(own.NewSet(prefixes("10.0.0.5/24"), nil))
		want("back", map[string][2]bool{"10.0.0.5": {true}, "fd00::5": {false, true}, "10.0.0.6": {false, true}})
		time.Sleep(17 * time.Minute)
		want("later", map[string][2]bool{"10.0.0.5": {true}, "fd00::5": {}, "10.0.0.6": {}})
		for i := range 200 {
			l.Update(own.NewSet(prefixes(fmt.Sprintf("10.1.0.%d/24", i)), nil))
		}
		n := 0
		for i := range 200 {
			if l.Had(addr(fmt.Sprintf("10.1.0.%d", i))) {
				n++
			}
		}
		if n == 0 || n > 64 {
			t.Errorf("%d former addresses of 199", n)
		}
	})
}
