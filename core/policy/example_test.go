package policy_test

import (
	"fmt"
	"log"
	"net/netip"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// One rule allows web to use http to api on port 8080; api is protected. Other connections
// are denied, and while the application is unknown the verdict is pending.
func Example() {
	const external, web, api = 0, 1, 2 // groups, and the identities of those that are in one group
	http, err := app.Parse("http")
	if err != nil {
		log.Fatal(err)
	}
	redis, err := app.Parse("redis")
	if err != nil {
		log.Fatal(err)
	}
	table, err := policy.Compile(&policy.Spec{
		Version:    1,
		Groups:     []policy.GroupSpec{{Name: "external"}, {Name: "web"}, {Name: "api"}},
		Identities: []policy.IdentitySpec{{Groups: []uint32{external}}, {Groups: []uint32{web}}, {Groups: []uint32{api}}},
		Addresses: []policy.AddressSpec{
			{Prefix: netip.MustParsePrefix("2001:db8::1/128"), Identity: web},
			{Prefix: netip.MustParsePrefix("2001:db8::2/128"), Identity: api},
		},
		Workloads: []policy.WorkloadSpec{{ID: "node1/api", Identity: api, Mode: policy.Protect}},
		Rules:     []policy.RuleSpec{{ID: 7, From: web, To: api, Ports: []policy.PortSpec{{Proto: packet.ProtoTCP, Lo: 8080, Hi: 8080}}, Apps: []app.ID{http}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	at := table.Workload("node1/api")
	for _, c := range []struct {
		peer string
		port uint16
		app  app.ID
	}{{"2001:db8::1", 8080, http}, {"2001:db8::1", 8080, app.Undecided}, {"2001:db8::1", 8080, redis}, {"2001:db8::1", 22, app.Undecided}, {"2001:db8::9", 8080, http}} {
		d := at.Decide(&policy.Query{
			Dir: packet.Ingress, Peer: packet.AddrFrom(netip.MustParseAddr(c.peer)), Local: packet.AddrFrom(netip.MustParseAddr("2001:db8::2")), IPv6: true,
			Proto: packet.ProtoTCP, Port: c.port, App: c.app, Base: c.app,
		})
		fmt.Println(c.peer, c.port, c.app, "->", d.Verdict, "by rule", d.Rule)
	}
	// Output:
	// 2001:db8::1 8080 http -> allow by rule 7
	// 2001:db8::1 8080 undecided -> pending by rule 7
	// 2001:db8::1 8080 redis -> deny by rule 0
	// 2001:db8::1 22 undecided -> deny by rule 0
	// 2001:db8::9 8080 http -> deny by rule 0
}

// Explain returns the steps by which Decide reaches its decision.
func ExampleWorkload_Explain() {
	table, err := policy.Compile(&policy.Spec{
		Groups:     []policy.GroupSpec{{Name: "any", Any: true}, {Name: "web"}},
		Identities: []policy.IdentitySpec{{}, {Groups: []uint32{1}}},
		Workloads:  []policy.WorkloadSpec{{ID: "node1/web", Identity: 1, Mode: policy.Monitor}},
		Rules:      []policy.RuleSpec{{ID: 3, From: 1, To: 0, Ports: []policy.PortSpec{{Proto: packet.ProtoUDP, Lo: 53, Hi: 53}}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, port := range []uint16{53, 123} {
		steps, d := table.Workload("node1/web").Explain(&policy.Query{
			Dir: packet.Egress, Peer: packet.AddrFrom(netip.MustParseAddr("192.0.2.1")), Proto: packet.ProtoUDP, Port: port, App: app.Undecided,
		})
		for _, s := range steps {
			fmt.Println(s.Text, "-", s.Outcome)
		}
		fmt.Println(d.Verdict)
	}
	// Output:
	// allow from web to any on udp/53, any application - matches: allow
	// allow
	// allow from web to any on udp/53, any application - no: the connection is to udp/123
	// no rule between the two ends matches - mode monitor: violate
	// violate
}
