package policy_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// town is a policy in which old may connect to api on 80 and new on 81; old has .10, other .11.
func town(t *testing.T) *policy.Spec {
	t.Helper()
	s := &policy.Spec{
		Version:    3,
		Groups:     []policy.GroupSpec{{Name: "any", Any: true}, {Name: "svc:default/api"}, {Name: "svc:default/old"}, {Name: "svc:default/new"}, {Name: "unmanaged"}},
		Identities: []policy.IdentitySpec{{}, {Groups: []uint32{1}}, {Groups: []uint32{2}}, {Groups: []uint32{3}}, {Groups: []uint32{4}}},
		Workloads:  []policy.WorkloadSpec{{ID: "api", Identity: 1, Mode: policy.Protect}, {ID: "old", Identity: 2, Mode: policy.Protect}, {ID: "new", Identity: 3, Mode: policy.Protect}},
		Rules: []policy.RuleSpec{{ID: 5, From: 2, To: 1, Ports: []policy.PortSpec{{Proto: packet.ProtoTCP, Lo: 80, Hi: 80}, {Proto: packet.ProtoUDP, Lo: 80, Hi: 80}}},
			{ID: 6, From: 3, To: 1, Ports: []policy.PortSpec{{Proto: packet.ProtoTCP, Lo: 81, Hi: 81}, {Proto: packet.ProtoUDP, Lo: 81, Hi: 81}}}},
	}
	for _, p := range []string{"10.7.0.10/32", "fd07::10/128"} {
		s.Addresses = append(s.Addresses, policy.AddressSpec{Prefix: netip.MustParsePrefix(p), Identity: 2})
	}
	for _, p := range []string{"10.7.0.0/24", "fd07::/64"} {
		s.Addresses = append(s.Addresses, policy.AddressSpec{Prefix: netip.MustParsePrefix(p), Identity: 4})
	}
	return s
}

const second = int64(1e9)

// TestOwnersFollowTime judges connections of an address that one service had and another one has, by
// the time of their beginning.
func TestOwnersFollowTime(t *testing.T) {
	had := guest("old", "svc:default/old", "10.7.0.10/24", "fd07::10/64")
	had.Ended = 100 * second
	stale := had
	stale.Stale = true
	has := guest("new", "svc:default/new", "10.7.0.10/24", "fd07::10/64")
	listed, renewed := town(t), town(t)
	for i := range renewed.Addresses[:2] {
		renewed.Addresses[i].Identity = 3
	}
	tests := []struct {
		name   string
		spec   *policy.Spec
		guests []policy.Guest
		began  int64
		want   string // verdicts on ports 80 and 81
	}{
		{"as listed", listed, nil, 0, "allow deny"},
		{"ended, not in use yet", listed, []policy.Guest{stale}, 101 * second, "deny deny"},
		{"ended, an earlier connection", listed, []policy.Guest{stale}, 90 * second, "allow deny"},
		{"ended, a connection of its last moment", listed, []policy.Guest{stale}, 100*second - second/2, "allow deny"},
		{"ended, the policy lists another by now", renewed, []policy.Guest{stale}, 101 * second, "deny allow"},
		{"reused, a later connection", listed, []policy.Guest{had, has}, 101 * second, "deny allow"},
		{"reused, an earlier one", listed, []policy.Guest{had, has}, 90 * second, "allow deny"},
		{"reused, around the end", listed, []policy.Guest{had, has}, 100*second - second/2, "deny deny"},
		{"reused, the policy knows", renewed, []policy.Guest{had, has}, 101 * second, "deny allow"},
		{"reused, the policy knows, the other order", renewed, []policy.Guest{has, had}, 101 * second, "deny allow"},
		{"reused, the policy knows, an earlier one", renewed, []policy.Guest{has, had}, 90 * second, "allow deny"},
	}
	for _, tt := range tests {
		for _, peer := range []string{"10.7.0.10", "fd07::10"} {
			for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
				base, err := policy.Compile(tt.spec)
				if err != nil {
					t.Fatal(err)
				}
				w := base.With(tt.guests).Workload("api")
				got := ""
				for _, port := range []uint16{80, 81} {
					a := netip.MustParseAddr(peer)
					q := policy.Query{Dir: packet.Ingress, Peer: packet.AddrFrom(a), Local: packet.AddrFrom(netip.MustParseAddr("192.0.2.1")), IPv6: a.Is6(), Proto: proto, Port: port, Began: tt.began}
					d := w.Decide(&q)
					if _, x := w.Explain(&q); x != d {
						t.Errorf("%s: explained as %v, decided %v", tt.name, x, d)
					}
					got += " " + d.Verdict.String()
				}
				if got[1:] != tt.want {
					t.Errorf("%s, %s, protocol %d: got %s, want %s", tt.name, peer, proto, got[1:], tt.want)
				}
			}
		}
	}
}

// TestVacant judges what a client opens to an address whose last owner is gone.
func TestVacant(t *testing.T) {
	had := guest("old", "svc:default/old", "10.7.0.10/24", "fd07::10/64")
	had.Ended = 100 * second
	stale := had
	stale.Stale = true
	has := guest("new", "svc:default/new", "10.7.0.10/24", "fd07::10/64")
	spec, other, gone := town(t), town(t), town(t)
	for _, s := range []*policy.Spec{spec, other, gone} {
		s.Rules = []policy.RuleSpec{{ID: 5, From: 1, To: 2, Ports: []policy.PortSpec{{Proto: packet.ProtoTCP, Lo: 80, Hi: 80}, {Proto: packet.ProtoUDP, Lo: 80, Hi: 80}}, Apps: []app.ID{app.HTTP}},
			{ID: 6, From: 1, To: 2, Ports: []policy.PortSpec{{Proto: packet.ProtoICMP}, {Proto: packet.ProtoICMPv6}}}}
	}
	for i := range other.Addresses[:2] {
		other.Addresses[i].Identity = 3
	}
	gone.Addresses = gone.Addresses[2:]
	type ask struct {
		proto uint8
		port  uint16
		app   app.ID
	}
	tests := []struct {
		name   string
		spec   *policy.Spec
		guests []policy.Guest
		began  int64
		mid    bool
		ask
		want flow.Verdict
	}{
		{"a handshake", spec, []policy.Guest{stale}, 101 * second, false, ask{packet.ProtoTCP, 80, app.Undecided}, flow.Pending},
		{"a handshake, the policy lists it no more", gone, []policy.Guest{had}, 110 * second, false, ask{packet.ProtoTCP, 80, app.Undecided}, flow.Pending},
		{"a handshake to another port", gone, []policy.Guest{had}, 101 * second, false, ask{packet.ProtoTCP, 81, app.Undecided}, flow.Deny},
		{"payload", gone, []policy.Guest{had}, 101 * second, false, ask{packet.ProtoTCP, 80, app.HTTP}, flow.Deny},
		{"a datagram", gone, []policy.Guest{had}, 101 * second, false, ask{packet.ProtoUDP, 80, app.HTTP}, flow.Allow},
		{"a datagram, not named yet", gone, []policy.Guest{had}, 101 * second, false, ask{packet.ProtoUDP, 80, app.Undecided}, flow.Pending},
		{"a datagram of another application", gone, []policy.Guest{had}, 101 * second, false, ask{packet.ProtoUDP, 80, app.Redis}, flow.Deny},
		{"an echo request", gone, []policy.Guest{had}, 101 * second, false, ask{packet.ProtoICMP, 0, app.Undecided}, flow.Allow},
		{"in mid-stream", gone, []policy.Guest{had}, 101 * second, true, ask{packet.ProtoTCP, 80, app.Undecided}, flow.Deny},
		{"later", gone, []policy.Guest{had}, 100*second + policy.Vacancy, false, ask{packet.ProtoTCP, 80, app.Undecided}, flow.Deny},
		{"another workload has it", gone, []policy.Guest{had, has}, 102 * second, false, ask{packet.ProtoTCP, 80, app.Undecided}, flow.Deny},
		{"another one has it elsewhere", other, []policy.Guest{stale}, 101 * second, false, ask{packet.ProtoTCP, 80, app.Undecided}, flow.Deny},
		{"it is back", spec, []policy.Guest{had, guest("old", "svc:default/old", "10.7.0.10/24", "fd07::10/64")}, 102 * second, false, ask{packet.ProtoTCP, 80, app.HTTP}, flow.Allow},
	}
	for _, tt := range tests {
		base, err := policy.Compile(tt.spec)
		if err != nil {
			t.Fatal(err)
		}
		w := base.With(tt.guests).Workload("api")
		for _, peer := range []string{"10.7.0.10", "fd07::10"} {
			a := netip.MustParseAddr(peer)
			q := policy.Query{Dir: packet.Egress, Peer: packet.AddrFrom(a), IPv6: a.Is6(), Proto: tt.proto, Port: tt.port, App: tt.app, Base: tt.app, Began: tt.began, Midstream: tt.mid}
			if a.Is6() && tt.proto == packet.ProtoICMP {
				q.Proto = packet.ProtoICMPv6
			}
			d := w.Decide(&q)
			if _, x := w.Explain(&q); x != d || d.Verdict != tt.want {
				t.Errorf("%s, %s: decided %v and explained as %v, want %v", tt.name, peer, d, x, tt.want)
			}
			if q.Dir = packet.Ingress; tt.began < 102*second && w.Decide(&q).Verdict == flow.Allow {
				t.Errorf("%s, %s: what somebody sends from there is allowed", tt.name, peer)
			}
		}
	}
}

// TestSharedAddress is about an address to which the policy gives two identities.
func TestSharedAddress(t *testing.T) {
	s := town(t)
	for _, p := range []string{"10.7.0.10/32", "fd07::10/128"} {
		s.Addresses = append(s.Addresses, policy.AddressSpec{Prefix: netip.MustParsePrefix(p), Identity: 3})
	}
	for _, order := range []string{"as given", "reversed"} {
		table, err := policy.Compile(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, peer := range []string{"10.7.0.10", "fd07::10"} {
			if got := decide(table, "api", packet.Ingress, peer); got != flow.Deny.String() {
				t.Errorf("%s: %s: got %s, want deny: only one of the two is allowed", order, peer, got)
			}
		}
		sole := table.With([]policy.Guest{guest("old", "svc:default/old", "10.7.0.10/24")})
		if got := decide(sole, "api", packet.Ingress, "10.7.0.10"); got != flow.Allow.String() {
			t.Errorf("%s: a running workload that has it alone: got %s, want allow", order, got)
		}
		slices.Reverse(s.Addresses)
	}
	s.Rules = append(s.Rules, policy.RuleSpec{ID: 7, From: 3, To: 1})
	table, err := policy.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	if got := decide(table, "api", packet.Ingress, "10.7.0.10"); got != flow.Allow.String() {
		t.Errorf("both allowed: got %s, want allow", got)
	}
}

// TestDecideSharedDoesNotAllocate covers addresses with several owners.
func TestDecideSharedDoesNotAllocate(t *testing.T) {
	s := town(t)
	s.Addresses = append(s.Addresses, policy.AddressSpec{Prefix: netip.MustParsePrefix("10.7.0.10/32"), Identity: 3})
	table, err := policy.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	had := guest("old", "svc:default/old", "10.7.0.10/24")
	had.Ended = 1
	w := table.With([]policy.Guest{had}).Workload("api")
	q := policy.Query{Dir: packet.Ingress, Peer: packet.AddrFrom(netip.MustParseAddr("10.7.0.10")), Proto: packet.ProtoTCP, Port: 80, Began: 1}
	if n := testing.AllocsPerRun(100, func() { w.Decide(&q) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
