package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// twoGroups is a policy of two groups: the workload, in the first, and everyone at 10.0.0.0/8 and fd00::/8, in the second.
func twoGroups(mode policy.Mode, rules ...policy.RuleSpec) *policy.Spec {
	return &policy.Spec{
		Version:    1,
		Groups:     []policy.GroupSpec{{Name: "mine"}, {Name: "theirs"}, {Name: "any", Any: true}},
		Identities: []policy.IdentitySpec{{}, {Groups: []uint32{0}}, {Groups: []uint32{1}}},
		Addresses: []policy.AddressSpec{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Identity: 2},
			{Prefix: netip.MustParsePrefix("fd00::/8"), Identity: 2}},
		Workloads: []policy.WorkloadSpec{{ID: "w", Identity: 1, Mode: mode}},
		Rules:     rules,
	}
}

func compiled(t testing.TB, s *policy.Spec) *policy.Table {
	t.Helper()
	table, err := policy.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// ask is a query of workload w about a peer.
func ask(peer string, dir packet.Direction, proto uint8, port uint16) *policy.Query {
	a := netip.MustParseAddr(peer)
	local := netip.MustParseAddr("192.0.2.1")
	if a.Is6() {
		local = netip.MustParseAddr("2001:db8::1")
	}
	return &policy.Query{Dir: dir, Peer: packet.AddrFrom(a), Local: packet.AddrFrom(local), IPv6: a.Is6(), Proto: proto, Port: port,
		App: app.Unknown, Base: app.Unknown}
}

// TestPortEdges: a range holds its two ends and nothing beside them, of its own protocol alone, over both families and directions.
func TestPortEdges(t *testing.T) {
	ranges := [][2]uint16{{0, 0}, {1, 1}, {80, 80}, {80, 81}, {8000, 8100}, {1, 65535}, {0, 65534}, {65535, 65535}, {32767, 32768}}
	for _, lohi := range ranges {
		for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP, packet.ProtoSCTP, 0} {
			spec := twoGroups(policy.Protect,
				policy.RuleSpec{ID: 1, From: 0, To: 1, Ports: []policy.PortSpec{{Proto: proto, Lo: lohi[0], Hi: lohi[1]}}},
				policy.RuleSpec{ID: 2, From: 1, To: 0, Ports: []policy.PortSpec{{Proto: proto, Lo: lohi[0], Hi: lohi[1]}}})
			w := compiled(t, spec).Workload("w")
			for _, port := range []uint16{0, 1, 2, 79, 80, 81, 82, 7999, 8000, 8050, 8100, 8101, 32766, 32767, 32768, 32769, 65534, 65535} {
				for _, q := range []*policy.Query{
					ask("10.1.1.1", packet.Egress, packet.ProtoTCP, port), ask("fd00::1", packet.Ingress, packet.ProtoTCP, port),
					ask("10.1.1.1", packet.Ingress, packet.ProtoSCTP, port), ask("fd00::1", packet.Egress, packet.ProtoSCTP, port),
				} {
					want := flow.Deny
					if (proto == 0 || proto == q.Proto) && port >= lohi[0] && port <= lohi[1] {
						want = flow.Allow
					}
					if d := w.Decide(q); d.Verdict != want {
						t.Errorf("%d/%d-%d: %s port %d: got %s, want %s", proto, lohi[0], lohi[1], policy.ProtoName(q.Proto), port, d.Verdict, want)
					}
				}
			}
		}
	}
}

// TestFirstMatchWins: with rules that overlap the first in order decides, whichever it is.
func TestFirstMatchWins(t *testing.T) {
	wide := policy.PortSpec{Proto: 6, Lo: 1, Hi: 65535}
	narrow := policy.PortSpec{Proto: 6, Lo: 443, Hi: 443}
	for _, denyFirst := range []bool{false, true} {
		for _, narrowFirst := range []bool{false, true} {
			a := policy.RuleSpec{ID: 7, From: 0, To: 1, Ports: []policy.PortSpec{wide}, Deny: denyFirst}
			b := policy.RuleSpec{ID: 8, From: 2, To: 2, Ports: []policy.PortSpec{narrow}, Deny: !denyFirst}
			if narrowFirst {
				a.Ports, b.Ports = b.Ports, a.Ports
			}
			w := compiled(t, twoGroups(policy.Protect, a, b)).Workload("w")
			first := flow.Allow
			if denyFirst {
				first = flow.Deny
			}
			if d := w.Decide(ask("10.1.1.1", packet.Egress, 6, 443)); d.Verdict != first || d.Rule != 7 {
				t.Errorf("deny first %v, narrow first %v: got %+v", denyFirst, narrowFirst, d)
			}
			if d := w.Decide(ask("fd00::9", packet.Egress, 6, 80)); narrowFirst == (d.Rule == 7) {
				t.Errorf("deny first %v, narrow first %v, port 80: got %+v", denyFirst, narrowFirst, d)
			}
		}
	}
}

// TestLongestPrefix: of nested prefixes the longest names an address, at every length of either family, and its neighbours keep theirs.
func TestLongestPrefix(t *testing.T) {
	for _, base := range []string{"10.85.170.85", "fd55:aaaa:5555:aaaa:5555:aaaa:5555:aaaa"} {
		a := netip.MustParseAddr(base)
		s := &policy.Spec{Version: 1, Groups: []policy.GroupSpec{{Name: "g"}}, Identities: []policy.IdentitySpec{{}}}
		for bits := 1; bits <= a.BitLen(); bits++ {
			s.Identities = append(s.Identities, policy.IdentitySpec{Groups: []uint32{0}})
			s.Addresses = append(s.Addresses, policy.AddressSpec{Prefix: netip.PrefixFrom(a, bits).Masked(), Identity: uint32(bits)})
		}
		rand.New(rand.NewPCG(61, 62)).Shuffle(len(s.Addresses), func(i, j int) { s.Addresses[i], s.Addresses[j] = s.Addresses[j], s.Addresses[i] })
		table := compiled(t, s)
		if got := table.Identity(packet.AddrFrom(a), a.Is6()); got != uint32(a.BitLen()) {
			t.Errorf("%s: got identity %d", a, got)
		}
		for bit := range a.BitLen() {
			b := a.AsSlice()
			b[bit/8] ^= 0x80 >> (bit % 8)
			other, _ := netip.AddrFromSlice(b)
			if got := table.Identity(packet.AddrFrom(other), a.Is6()); got != uint32(bit) {
				t.Errorf("%s, which shares %d bits: got identity %d", other, bit, got)
			}
		}
	}
}

// TestNewcomersAgainstListed: a workload that comes as a newcomer is decided about as if the policy listed it so, whatever the policy.
func TestNewcomersAgainstListed(t *testing.T) {
	r := rand.New(rand.NewPCG(63, 64))
	for n := range 300 {
		s := randomSpec(r)
		as := policy.WorkloadSpec{Identity: uint32(r.IntN(len(s.Identities))), Mode: policy.Mode(r.IntN(3)), FailClosed: r.IntN(2) == 0}
		s.Newcomers = []policy.NewcomerSpec{{Group: "svc:new", WorkloadSpec: as}}
		listed := *s
		as.ID = "new"
		listed.Workloads = append(slices.Clone(s.Workloads), as)
		a := compiled(t, s).With([]policy.Guest{{ID: "new", Group: "svc:new"}, {ID: "else", Group: "svc:else"}})
		b := compiled(t, &listed)
		if a.Workload("else") != nil {
			t.Fatalf("spec %d: a group without an entry got a policy", n)
		}
		for range 100 {
			q := randomQuery(r)
			if got, want := a.Workload("new").Decide(&q), b.Workload("new").Decide(&q); got != want {
				t.Fatalf("spec %d, %+v: got %+v, listed %+v", n, q, got, want)
			}
			for i := range s.Workloads {
				id := s.Workloads[i].ID
				if got, want := a.Workload(id).Decide(&q), b.Workload(id).Decide(&q); got != want {
					t.Fatalf("spec %d, workload %s, %+v: got %+v, want %+v", n, id, q, got, want)
				}
			}
		}
	}
}

// TestGuestsAgainstAddresses: the addresses of guests count as host prefixes do that stand in the policy, before all others.
func TestGuestsAgainstAddresses(t *testing.T) {
	r := rand.New(rand.NewPCG(65, 66))
	for n := range 300 {
		s := randomSpec(r)
		var guests []policy.Guest
		known := *s
		known.Addresses = slices.Clone(s.Addresses)
		taken := map[netip.Addr]bool{}
		for i := range s.Workloads {
			g := policy.Guest{ID: s.Workloads[i].ID}
			for range r.IntN(3) {
				a := randomAddr(r, r.IntN(2) == 0)
				g.Addresses = append(g.Addresses, netip.PrefixFrom(a, a.BitLen()-8))
				if taken[a] {
					continue // the first that has it counts
				}
				taken[a] = true
				host := netip.PrefixFrom(a, a.BitLen())
				known.Addresses = slices.DeleteFunc(known.Addresses, func(x policy.AddressSpec) bool { return x.Prefix == host })
				known.Addresses = append(known.Addresses, policy.AddressSpec{Prefix: host, Identity: s.Workloads[i].Identity})
			}
			guests = append(guests, g)
		}
		a, b := compiled(t, s).With(guests), compiled(t, &known)
		for v6 := range 2 {
			for range 60 {
				x := randomAddr(r, v6 == 1)
				if got, want := a.Identity(packet.AddrFrom(x), x.Is6()), b.Identity(packet.AddrFrom(x), x.Is6()); got != want {
					t.Fatalf("spec %d, %s: got identity %d, want %d (guests %v)", n, x, got, want, guests)
				}
			}
		}
	}
}

// TestPortSpecText: how ports are written, and that Contains is the same range.
func TestPortSpecText(t *testing.T) {
	for want, p := range map[string]policy.PortSpec{
		"any": {Hi: 65535}, "tcp/80": {Proto: 6, Lo: 80, Hi: 80}, "tcp/8000-8100": {Proto: 6, Lo: 8000, Hi: 8100},
		"udp/any": {Proto: 17, Hi: 65535}, "any/80": {Lo: 80, Hi: 80}, "sctp/5": {Proto: 132, Lo: 5, Hi: 5},
	} {
		if got := p.String(); got != want {
			t.Errorf("%+v: got %q, want %q", p, got, want)
		}
		for _, port := range []uint16{0, p.Lo, p.Hi, p.Lo - 1, p.Hi + 1} {
			for _, proto := range []uint8{6, 17, 132} {
				inside := (p.Proto == 0 || p.Proto == proto) && port >= p.Lo && port <= p.Hi
				if got := p.Contains(proto, port); got != inside {
					t.Errorf("%s contains %d/%d: got %v", want, proto, port, got)
				}
			}
		}
	}
}

// TestModesDecideWhatDenyMeans: the same rules in each mode: what no rule allows is learnt, reported or refused.
func TestModesDecideWhatDenyMeans(t *testing.T) {
	for _, c := range []struct {
		mode            policy.Mode
		allowed, denied flow.Verdict
		none            flow.Verdict
	}{
		{policy.Discover, flow.Allow, flow.Violate, flow.Learn},
		{policy.Monitor, flow.Allow, flow.Violate, flow.Violate},
		{policy.Protect, flow.Allow, flow.Deny, flow.Deny},
	} {
		w := compiled(t, twoGroups(c.mode,
			policy.RuleSpec{ID: 1, From: 0, To: 1, Ports: []policy.PortSpec{{Proto: 6, Lo: 80, Hi: 80}}},
			policy.RuleSpec{ID: 2, From: 0, To: 1, Ports: []policy.PortSpec{{Proto: 6, Lo: 81, Hi: 81}}, Deny: true})).Workload("w")
		for _, peer := range []string{"10.1.1.1", "fd00::1"} {
			got := fmt.Sprint(w.Decide(ask(peer, packet.Egress, 6, 80)), w.Decide(ask(peer, packet.Egress, 6, 81)), w.Decide(ask(peer, packet.Egress, 6, 82)))
			want := fmt.Sprint(policy.Decision{Verdict: c.allowed, Reason: flow.ByRule, Rule: 1}, policy.Decision{Verdict: c.denied, Reason: flow.ByRule, Rule: 2},
				policy.Decision{Verdict: c.none, Reason: flow.ByDefault})
			if got != want {
				t.Errorf("%s, %s: got %s, want %s", c.mode, peer, got, want)
			}
		}
	}
}
