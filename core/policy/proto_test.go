package policy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// TestProtocolNames checks all 256 numbers: each has a name of its own, which is read back, whatever its case.
func TestProtocolNames(t *testing.T) {
	seen := map[string]int{}
	for i := range 256 {
		name := policy.ProtoName(uint8(i))
		if other, ok := seen[name]; ok {
			t.Errorf("%d and %d are both %q", other, i, name)
		}
		seen[name] = i
		got, err := policy.ParseProto(" " + strings.ToUpper(name))
		if i == 0 { // 0 is any protocol in a PortSpec; no rule can name it
			if err == nil {
				t.Errorf("%q was read as %d", name, got)
			}
			continue
		}
		if err != nil || int(got) != i {
			t.Errorf("%q was read as %d, %v; want %d", name, got, err, i)
		}
		if got, err := policy.ParseProto(fmt.Sprint("ip-", i)); err != nil || int(got) != i {
			t.Errorf("ip-%d was read as %d, %v", i, got, err)
		}
	}
	for _, s := range []string{"", "ip-", "ip-0", "ip-256", "ip--1", "ip-6x", "ip-0x6", "6", "tpc"} {
		if got, err := policy.ParseProto(s); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", s)) {
			t.Errorf("%q was read as %d, %v; want an error that quotes it", s, got, err)
		}
	}
}

// TestAllPorts: all ports of a protocol without ports are written as the protocol alone.
func TestAllPorts(t *testing.T) {
	for i := range 256 {
		p := policy.PortSpec{Proto: uint8(i), Hi: 65535}
		if got, want := strings.HasSuffix(p.String(), "/any"), i != 0 && policy.HasPorts(uint8(i)); got != want {
			t.Errorf("all ports of protocol %d are %q", i, p)
		}
	}
}

// TestPortSpecContains compares with a list of all points that a specification means.
func TestPortSpecContains(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		p := policy.PortSpec{Proto: someProtos[r.IntN(len(someProtos))], Lo: randomPort(r), Hi: randomPort(r)}
		if r.IntN(3) == 0 {
			p.Proto = 0
		}
		points := map[uint16]bool{}
		for x := int(p.Lo); x <= int(p.Hi); x++ {
			points[uint16(x)] = true
		}
		for range 100 {
			proto, port := someProtos[r.IntN(len(someProtos))], randomPort(r)
			want := points[port]
			if p.Proto != 0 && p.Proto != proto {
				want = false
			}
			if got := p.Contains(proto, port); got != want {
				t.Fatalf("%+v contains %d/%d: %t, want %t", p, proto, port, got, want)
			}
		}
	}
}

// TestExplainNamesEverything: the explanation of a decision shows the groups, the ports, the applications and the mode in words.
func TestExplainNamesEverything(t *testing.T) {
	s := &policy.Spec{
		Groups: []policy.GroupSpec{{Name: "any", Any: true}, {Name: "svc:default/web"}}, Identities: []policy.IdentitySpec{{}, {Groups: []uint32{1}}},
		Workloads: []policy.WorkloadSpec{{ID: "w", Identity: 1, Mode: policy.Monitor}},
		Rules:     []policy.RuleSpec{{ID: 4, From: 1, To: 0, Ports: []policy.PortSpec{{Proto: 6, Lo: 80, Hi: 80}}}, {ID: 5, From: 1, To: 0, Deny: true}},
	}
	table, err := policy.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		q    policy.Query
		want []string
	}{
		{policy.Query{Proto: 6, Port: 80}, []string{"allow from svc:default/web to any on tcp/80, any application", "matches: allow"}},
		{policy.Query{Proto: 6, Port: 81}, []string{"no: the connection is to tcp/81", "deny from svc:default/web to any on any port", "violate", "mode monitor only reports"}},
		{policy.Query{Proto: 58, IPv6: true}, []string{"no: the connection is to icmpv6", "violate"}},
	} {
		q := tt.q
		q.Peer[0], q.Peer[15] = 0x20, 9
		q.Dir = packet.Egress
		steps, _ := table.Workload("w").Explain(&q)
		var text strings.Builder
		for _, step := range steps {
			fmt.Fprintf(&text, "%s: %s\n", step.Text, step.Outcome)
		}
		for _, want := range tt.want {
			if !strings.Contains(text.String(), want) {
				t.Errorf("%+v: no %q in\n%s", tt.q, want, &text)
			}
		}
	}
}
