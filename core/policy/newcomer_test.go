package policy_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// village is a policy in which web may connect to api, and api (10.7.0.3) is listed; web is
// not.
func village() *policy.Spec {
	return &policy.Spec{
		Version:    3,
		Groups:     []policy.GroupSpec{{Name: "any", Any: true}, {Name: "svc:default/web"}, {Name: "svc:default/api"}},
		Identities: []policy.IdentitySpec{{}, {Groups: []uint32{1}}, {Groups: []uint32{2}}},
		Addresses:  []policy.AddressSpec{{Prefix: netip.MustParsePrefix("10.7.0.3/32"), Identity: 2}, {Prefix: netip.MustParsePrefix("fd07::3/128"), Identity: 2}},
		Workloads:  []policy.WorkloadSpec{{ID: "api", Identity: 2, Mode: policy.Protect}},
		Newcomers: []policy.NewcomerSpec{{WorkloadSpec: policy.WorkloadSpec{Mode: policy.Monitor}},
			{Group: "svc:default/web", WorkloadSpec: policy.WorkloadSpec{Identity: 1, Mode: policy.Protect, FailClosed: true}}},
		Rules: []policy.RuleSpec{{ID: 5, From: 1, To: 2}},
	}
}

func guest(id, group string, addresses ...string) policy.Guest {
	g := policy.Guest{ID: id, Group: group}
	for _, a := range addresses {
		g.Addresses = append(g.Addresses, netip.MustParsePrefix(a))
	}
	return g
}

// decide returns the verdict of a workload on a TCP connection.
func decide(t *policy.Table, id string, dir packet.Direction, peer string) string {
	w := t.Workload(id)
	if w == nil {
		return "no policy"
	}
	a := netip.MustParseAddr(peer)
	d := w.Decide(&policy.Query{Dir: dir, Peer: packet.AddrFrom(a), Local: packet.AddrFrom(netip.MustParseAddr("192.0.2.1")), IPv6: a.Is6(), Proto: packet.ProtoTCP, Port: 80})
	return d.Verdict.String()
}

func TestNewcomers(t *testing.T) {
	table, err := policy.Compile(village())
	if err != nil {
		t.Fatal(err)
	}
	web2 := guest("web2", "svc:default/web", "10.7.0.9/24", "fd07::9/64", "fe80::9/64")
	tests := []struct {
		name      string
		guests    []policy.Guest
		id, peer  string
		dir       packet.Direction
		want      string
		unchanged bool
	}{
		{"no guests", nil, "web2", "10.7.0.3", packet.Egress, "no policy", true},
		{"a listed workload", []policy.Guest{guest("api", "svc:default/api", "10.7.0.3/24")}, "api", "10.7.0.9", packet.Ingress, "deny", true},
		{"an allowed call of a newcomer", []policy.Guest{web2}, "web2", "10.7.0.3", packet.Egress, "allow", false},
		{"the same over IPv6", []policy.Guest{web2}, "web2", "fd07::3", packet.Egress, "allow", false},
		{"a refused one", []policy.Guest{web2}, "web2", "10.7.0.4", packet.Egress, "deny", false},
		{"as its peer sees it", []policy.Guest{web2}, "api", "10.7.0.9", packet.Ingress, "allow", false},
		{"as its peer sees it over IPv6", []policy.Guest{web2}, "api", "fd07::9", packet.Ingress, "allow", false},
		{"a group without an entry", []policy.Guest{guest("x", "svc:default/x")}, "x", "10.7.0.3", packet.Egress, "violate", false},
		{"an address that belonged to another", []policy.Guest{web2, guest("x", "svc:default/x", "10.7.0.3/24")}, "web2", "10.7.0.3", packet.Egress, "deny", false},
		{"two with one address", []policy.Guest{web2, guest("x", "svc:default/x", "10.7.0.9/24")}, "api", "10.7.0.9", packet.Ingress, "deny", false},
		{"two with one address, the other order", []policy.Guest{guest("x", "svc:default/x", "fd07::9/64"), web2}, "api", "fd07::9", packet.Ingress, "deny", false},
		{"two of one service with one address", []policy.Guest{web2, guest("web3", "svc:default/web", "10.7.0.9/24")}, "api", "10.7.0.9", packet.Ingress, "allow", false},
		{"a listed workload has moved", []policy.Guest{web2, guest("api", "svc:default/api", "10.7.0.8/24")}, "web2", "10.7.0.8", packet.Egress, "allow", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := table.With(tt.guests)
			if got := decide(now, tt.id, tt.dir, tt.peer); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if now == table != tt.unchanged || now.Version() != 3 {
				t.Errorf("the same table %v, want %v; version %d", now == table, tt.unchanged, now.Version())
			}
			if got := decide(table, "api", packet.Ingress, "10.7.0.9"); got != flow.Deny.String() {
				t.Errorf("the table before has changed: %s", got)
			}
		})
	}
	if w := table.With([]policy.Guest{web2}).Workload("web2"); w.ID() != "web2" || !w.FailClosed() || w.Mode() != policy.Protect {
		t.Errorf("workload %q, mode %s, fail closed %v", w.ID(), w.Mode(), w.FailClosed())
	}
}

func TestNewcomerRefused(t *testing.T) {
	s := village()
	s.Newcomers[1].Identity = 9
	if _, err := policy.Compile(s); err == nil || !strings.Contains(err.Error(), `newcomer of "svc:default/web" has identity 9`) {
		t.Errorf("error %v", err)
	}
}
