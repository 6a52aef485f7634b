//go:build linux

package main

import (
	"fmt"
	"net/netip"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// workloadID is the policy's name of the server, 0, and of the others.
func workloadID(i int) string { return fmt.Sprint("workload-", i) }

// rules is how many rules the policy has.
const rules = 1000

// makePolicy is a policy of a thousand rules, nearly all of which speak of others and of
// ports that the traffic does not use; the last ones allow what is measured, HTTP
// by its name. The server and others like it are in protect.
func makePolicy(more int) (*policy.Table, error) {
	const (
		everyone, external, servers, clients, others = 0, 1, 2, 3, 4
		groups                                       = 200
	)
	s := &policy.Spec{
		Version:    1,
		Groups:     []policy.GroupSpec{{Name: "any", Any: true}, {Name: "external"}, {Name: "servers"}, {Name: "clients"}},
		Identities: []policy.IdentitySpec{{Groups: []uint32{external}}, {Groups: []uint32{servers}}, {Groups: []uint32{clients}}},
	}
	for i := range 1 + more {
		s.Workloads = append(s.Workloads, policy.WorkloadSpec{ID: workloadID(i), Identity: 1, Mode: policy.Protect})
	}
	for _, ipv6 := range []bool{false, true} {
		a := serverAddr(ipv6)
		s.Addresses = append(s.Addresses, policy.AddressSpec{Prefix: netip.PrefixFrom(a, a.BitLen()), Identity: 1})
		for i := range sources {
			a := sourceAddr(ipv6, i)
			s.Addresses = append(s.Addresses, policy.AddressSpec{Prefix: netip.PrefixFrom(a, a.BitLen()), Identity: 2})
		}
	}
	for i := range groups {
		s.Groups = append(s.Groups, policy.GroupSpec{Name: fmt.Sprint("other-", i)})
		s.Identities = append(s.Identities, policy.IdentitySpec{Groups: []uint32{uint32(others + i)}})
		a := netip.AddrFrom4([4]byte{10, 78, byte(i), 1})
		s.Addresses = append(s.Addresses, policy.AddressSpec{Prefix: netip.PrefixFrom(a, 32), Identity: uint32(3 + i)})
	}
	allow := []policy.RuleSpec{
		{From: clients, To: servers, Ports: []policy.PortSpec{tcpPort(portHTTP)}, Apps: []app.ID{app.HTTP}},
		{From: clients, To: servers, Ports: []policy.PortSpec{tcpPort(portStream), tcpPort(portEcho)}},
		{From: clients, To: servers, Ports: []policy.PortSpec{{Proto: packet.ProtoUDP, Lo: portUDP, Hi: portUDP}}},
	}
	for i := range rules - len(allow) {
		r := policy.RuleSpec{From: uint32(others + i%groups), To: servers, Ports: []policy.PortSpec{tcpPort(uint16(10000 + i))}, Apps: []app.ID{app.HTTP, app.TLS}}
		switch i % 4 {
		case 1:
			r.From, r.To = servers, r.From
		case 2:
			r.From, r.Ports[0].Hi = clients, r.Ports[0].Lo+100
		case 3:
			r.From, r.Deny = everyone, true
		}
		s.Rules = append(s.Rules, r)
	}
	s.Rules = append(s.Rules, allow...)
	for i := range s.Rules {
		s.Rules[i].ID = uint32(i + 1)
	}
	return policy.Compile(s)
}

func tcpPort(p uint16) policy.PortSpec {
	return policy.PortSpec{Proto: packet.ProtoTCP, Lo: p, Hi: p}
}
