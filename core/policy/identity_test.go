package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// numbered returns a Spec with many identities, each of its own group, and random prefixes that contain each other.
func numbered(r *rand.Rand, identities int) *policy.Spec {
	s := &policy.Spec{Version: 1}
	for i := range identities {
		s.Groups = append(s.Groups, policy.GroupSpec{Name: fmt.Sprint("g", i)})
		s.Identities = append(s.Identities, policy.IdentitySpec{Groups: []uint32{uint32(i)}})
	}
	seen := map[netip.Prefix]bool{}
	for range 200 {
		a := nearAddr(r)
		bits := a.BitLen()
		if r.IntN(2) == 0 { // half of them are of one address
			bits -= r.IntN(bits)
		}
		if p := netip.PrefixFrom(a, bits).Masked(); !seen[p] {
			seen[p] = true
			s.Addresses = append(s.Addresses, policy.AddressSpec{Prefix: p, Identity: uint32(r.IntN(identities))})
		}
	}
	for i := range 4 {
		s.Workloads = append(s.Workloads, policy.WorkloadSpec{ID: fmt.Sprint("w", i), Identity: uint32(i + 1)})
	}
	return s
}

// nearAddr returns an address that shares a prefix of any length with the others.
func nearAddr(r *rand.Rand) netip.Addr {
	if r.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{10, byte(r.IntN(2)) << 7, byte(r.IntN(3)), byte(r.IntN(32))})
	}
	return netip.AddrFrom16([16]byte{0: 0xfd, 1: byte(r.IntN(2)), 7: byte(r.IntN(3)), 8: byte(r.IntN(2)) << 7, 15: byte(r.IntN(32))})
}

// TestIdentityIsOfTheLongestPrefix compares the maps of single addresses and the prefix tree with a search of the whole list.
func TestIdentityIsOfTheLongestPrefix(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for n := range 40 {
		s := numbered(r, 8)
		table, err := policy.Compile(s)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for range 400 {
			a := nearAddr(r)
			got, want := table.Identity(packet.AddrFrom(a), a.Is6()), longest(s, a)
			if got != want {
				t.Fatalf("spec %d: %s has identity %d, want %d of %+v", n, a, got, want, s.Addresses)
			}
			if want != 0 {
				found++
			}
		}
		if found < 20 {
			t.Errorf("spec %d: only %d of 400 addresses have an identity", n, found)
		}
	}
}

// TestGuestAddressesComeFirst compares Table.With with a list in which the present addresses of guests precede everything: the first guest
// with an address has it, addresses that many machines share belong to none, and the table that With extends stays as it was.
func TestGuestAddressesComeFirst(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for n := range 40 {
		s := numbered(r, 8)
		s.Newcomers = []policy.NewcomerSpec{{Group: "a", WorkloadSpec: policy.WorkloadSpec{Identity: 6, Mode: policy.Protect}}}
		table, err := policy.Compile(s)
		if err != nil {
			t.Fatal(err)
		}
		identities := map[string]uint32{"w0": 1, "w1": 2, "w2": 3, "w3": 4, "new": 6}
		var guests []policy.Guest
		overlay := map[netip.Addr]uint32{}
		for _, id := range []string{"w2", "new", "w0", "none", "w1"} {
			g := policy.Guest{ID: id, Group: map[string]string{"new": "a", "none": "b"}[id]}
			for range r.IntN(6) {
				a := nearAddr(r)
				g.Addresses = append(g.Addresses, netip.PrefixFrom(a, a.BitLen()-r.IntN(8)))
				if _, taken := overlay[a]; !taken && id != "none" && longest(s, a) != identities[id] {
					overlay[a] = identities[id]
				}
			}
			g.Addresses = append(g.Addresses, netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("::/128"), netip.MustParsePrefix("224.0.0.1/32"))
			guests = append(guests, g)
		}
		with := table.With(guests)
		for range 400 {
			a := nearAddr(r)
			want, ok := overlay[a]
			if !ok {
				want = longest(s, a)
			}
			if got := with.Identity(packet.AddrFrom(a), a.Is6()); got != want {
				t.Fatalf("spec %d: %s has identity %d, want %d", n, a, got, want)
			}
			if got := table.Identity(packet.AddrFrom(a), a.Is6()); got != longest(s, a) {
				t.Fatalf("spec %d: the table before has identity %d for %s, want %d", n, got, a, longest(s, a))
			}
		}
		for _, a := range []string{"127.0.0.1", "fe80::1", "::", "224.0.0.1"} {
			if a := netip.MustParseAddr(a); with.Identity(packet.AddrFrom(a), a.Is6()) != longest(s, a) {
				t.Errorf("spec %d: %s is a guest's", n, a)
			}
		}
		if w := with.Workload("new"); w == nil || w.Mode() != policy.Protect || w.Identity() != 6 || w.ID() != "new" {
			t.Errorf("spec %d: the newcomer's policy is %+v", n, w)
		}
		if table.Workload("new") != nil || with.Workload("none") != nil || with.Version() != table.Version() {
			t.Errorf("spec %d: the table before lists a newcomer, or a workload of an unknown group has a policy", n)
		}
	}
}

// TestWithNothingNew: where nothing changes, the table itself is returned, so that paths keep their decisions.
func TestWithNothingNew(t *testing.T) {
	s := numbered(rand.New(rand.NewPCG(9, 10)), 8)
	own := policy.AddressSpec{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Identity: 1}
	s.Addresses = append(s.Addresses, own)
	table, err := policy.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	for name, guests := range map[string][]policy.Guest{
		"nobody": nil, "a workload without addresses": {{ID: "w0"}}, "of no group": {{ID: "x", Addresses: []netip.Prefix{own.Prefix}}},
		"at its address": {{ID: "w0", Addresses: []netip.Prefix{own.Prefix, netip.MustParsePrefix("::ffff:192.0.2.1/128")}}},
	} {
		if table.With(guests) != table {
			t.Errorf("%s: another table", name)
		}
	}
	if moved := table.With([]policy.Guest{{ID: "w1", Addresses: []netip.Prefix{own.Prefix}}}); moved == table || moved.Identity(packet.AddrFrom(own.Prefix.Addr()), false) != 2 {
		t.Error("an address that moved to another workload is not the other workload's")
	}
}

// TestIdentityAllocatesNothing: it is looked up for every session.
func TestIdentityAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	table, err := policy.Compile(numbered(r, 8))
	if err != nil {
		t.Fatal(err)
	}
	addrs := make([]netip.Addr, 64)
	for i := range addrs {
		addrs[i] = nearAddr(r)
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		a := addrs[i%len(addrs)]
		table.Identity(packet.AddrFrom(a), a.Is6())
		i++
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
