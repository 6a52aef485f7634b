package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// largeSpec is a cluster: 1,000 services, as many user groups of which a workload is in
// three, 100 workloads on the node, `any` at an end of each twentieth rule.
func largeSpec(rules, addresses int) *policy.Spec {
	r := rand.New(rand.NewPCG(5, 6))
	const services, users = 1000, 1000
	s := &policy.Spec{Version: 1, Groups: []policy.GroupSpec{{Name: "any", Any: true}, {Name: "external"}},
		Identities: []policy.IdentitySpec{{Groups: []uint32{1}}}}
	for i := range services + users {
		s.Groups = append(s.Groups, policy.GroupSpec{Name: fmt.Sprint("group-", i)})
	}
	for i := range services {
		id := policy.IdentitySpec{Groups: []uint32{uint32(2 + i)}}
		for range 3 {
			id.Groups = append(id.Groups, uint32(2+services+r.IntN(users)))
		}
		s.Identities = append(s.Identities, id)
	}
	for i := range addresses {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if i%2 == 1 {
			a = netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 7: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
		}
		s.Addresses = append(s.Addresses, policy.AddressSpec{Prefix: netip.PrefixFrom(a, a.BitLen()), Identity: uint32(1 + i%services)})
	}
	for i := range 100 {
		s.Workloads = append(s.Workloads, policy.WorkloadSpec{ID: fmt.Sprint("w", i), Identity: uint32(1 + i*10), Mode: policy.Protect})
	}
	for i := range rules {
		s.Rules = append(s.Rules, largeRule(r, uint32(i+1), services+users))
	}
	return s
}

func largeRule(r *rand.Rand, id uint32, groups int) policy.RuleSpec {
	rule := policy.RuleSpec{ID: id, From: uint32(2 + r.IntN(groups)), To: uint32(2 + r.IntN(groups)), Deny: r.IntN(10) == 0}
	switch r.IntN(40) {
	case 0:
		rule.From = 0
	case 1:
		rule.To = 0
	}
	if rule.ID%500 == 0 {
		rule.From, rule.To = 0, 0
	}
	for range 1 + r.IntN(3) {
		p := policy.PortSpec{Proto: 6, Lo: uint16(r.IntN(10000))}
		p.Hi = p.Lo
		if r.IntN(5) == 0 {
			p.Hi += uint16(r.IntN(200))
		}
		rule.Ports = append(rule.Ports, p)
	}
	if r.IntN(2) == 0 {
		rule.Apps = []app.ID{app.HTTP, app.TLS}
	}
	return rule
}

// queries are connections between the node's workloads and addresses of the whole cluster, half of
// them on a port that some rule names.
func queries(s *policy.Spec, t *policy.Table, n int) ([]policy.Query, []*policy.Workload) {
	r := rand.New(rand.NewPCG(7, 8))
	qs, ws := make([]policy.Query, n), make([]*policy.Workload, n)
	for i := range qs {
		a := s.Addresses[r.IntN(len(s.Addresses))].Prefix.Addr()
		ws[i] = t.Workload(s.Workloads[r.IntN(len(s.Workloads))].ID)
		q := policy.Query{Dir: packet.Egress, Peer: packet.AddrFrom(a), IPv6: a.Is6(), Proto: 6, Port: uint16(r.IntN(10000)), App: app.HTTP, Base: app.HTTP}
		if r.IntN(2) == 0 {
			q.Dir = packet.Ingress
		}
		if rule := &s.Rules[r.IntN(len(s.Rules))]; i%2 == 0 {
			q.Port = rule.Ports[0].Lo
		}
		qs[i] = q
	}
	return qs, ws
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000, 100_000} {
		addresses := max(n*10, 1000)
		b.Run(fmt.Sprintf("rules=%d/addresses=%d", n, addresses), func(b *testing.B) {
			s := largeSpec(n, addresses)
			t, err := policy.Compile(s)
			if err != nil {
				b.Fatal(err)
			}
			qs, ws := queries(s, t, 1<<16)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				ws[i&0xffff].Decide(&qs[i&0xffff])
				i++
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("rules=%d/addresses=%d", n, n*10), func(b *testing.B) {
			s := largeSpec(n, n*10)
			for b.Loop() {
				if _, err := policy.Compile(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestDecideAllocates checks that Decide allocates nothing.
func TestDecideAllocates(t *testing.T) {
	s := largeSpec(1000, 1000)
	table, err := policy.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	qs, ws := queries(s, table, 256)
	got := testing.AllocsPerRun(100, func() {
		for i := range qs {
			ws[i].Decide(&qs[i])
		}
	})
	if got != 0 {
		t.Errorf("256 decisions allocate %v times, want 0", got)
	}
}
