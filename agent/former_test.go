package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/policy"
)

// guestWith is a workload with addresses in policy.
func guestWith(id string, addrs ...string) policy.Guest {
	g := policy.Guest{ID: id}
	for _, a := range addrs {
		g.Addresses = append(g.Addresses, netip.MustParsePrefix(a))
	}
	return g
}

// TestFormerOwners: what a workload no longer has stays in policy for a while, and longer while the policy still
// lists it as the workload's.
func TestFormerOwners(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	f := newFormerOwners(nil)
	f.add(guestWith("web", "10.0.0.1/24"), now, 7)
	stale := func(at time.Duration, version uint64) bool {
		list := f.guests(nil, now.Add(at), version)
		if len(list) != 1 {
			t.Fatalf("after %v: %d workloads", at, len(list))
		}
		return list[0].Stale
	}
	if !stale(time.Second, 8) || stale(3*time.Second, 8) || !stale(3*time.Second, 7) {
		t.Error("an address is stale for two seconds, and while its policy is the newest one")
	}
	if f.forget(now.Add(2*remembered), 7) {
		t.Error("forgotten although the policy lists it")
	}
	if !f.forget(now.Add(time.Second+remembered), 8) || len(f.list) != 0 {
		t.Errorf("kept: %+v", f.list)
	}
}

// TestFormerOwnersBounded: neither one workload nor many exceed the limits; the oldest give way.
func TestFormerOwnersBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	f := newFormerOwners(nil)
	for i := range 2 * maxRememberedEach {
		f.add(guestWith("web", fmt.Sprintf("10.0.0.%d/24", i)), now, 0)
	}
	if len(f.list) != maxRememberedEach || f.list[0].Addresses[0] != netip.MustParsePrefix("10.0.0.16/24") {
		t.Errorf("%d of one workload, the first %v", len(f.list), f.list[0].Addresses)
	}
	for i := range maxRemembered {
		f.add(guestWith(fmt.Sprint(i)), now, 0)
	}
	if len(f.list) != maxRemembered || slices.ContainsFunc(f.list, func(g gone) bool { return g.ID == "web" }) {
		t.Errorf("%d remembered, the first %s", len(f.list), f.list[0].ID)
	}
}

// TestWithoutAddresses: an address with another prefix is the same one.
func TestWithoutAddresses(t *testing.T) {
	list, has := guestWith("", "10.0.0.1/24", "fd00::1/64").Addresses, guestWith("", "10.0.0.1/16").Addresses
	if got := withoutAddresses(list, has); len(got) != 1 || got[0] != netip.MustParsePrefix("fd00::1/64") {
		t.Errorf("left: %v", got)
	}
}
