package wire_test

import (
	"strings"
	"testing"

	"github.com/sluicenet/sluice/agent/wire"
	"github.com/sluicenet/sluice/internal/stage/lab"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

var (
	none = wire.Mesh{}
	out  = wire.Mesh{Out: true}
	in   = wire.Mesh{In: true}
	both = wire.Mesh{Out: true, In: true}
)

// redirectCases are rules as users and meshes place them. A command's first word says by which tool.
var redirectCases = []struct {
	name  string
	rules []string
	want  wire.Mesh
}{
	{"nothing", nil, none},
	{"iptables, out", []string{"iptables-nft -t nat -A OUTPUT -p tcp -j REDIRECT --to-ports 15001"}, out},
	{"iptables, out by a chain", []string{"iptables-nft -t nat -N MESH", "iptables-nft -t nat -A MESH -p tcp -j REDIRECT --to-ports 15001", "iptables-nft -t nat -A OUTPUT -p tcp -j MESH"}, out},
	{"iptables, in", []string{"iptables-nft -t nat -A PREROUTING -p tcp -j REDIRECT --to-ports 15006"}, in},
	{"iptables, a chain that nothing goes to", []string{"iptables-nft -t nat -N MESH", "iptables-nft -t nat -A MESH -p tcp -j REDIRECT --to-ports 15001", "iptables-nft -t nat -A OUTPUT -p udp -j RETURN"}, none},
	{"iptables, translation to the loopback address", []string{"iptables-nft -t nat -A OUTPUT -p tcp -j DNAT --to-destination 127.0.0.1:15001"}, out},
	{"iptables, Docker's name server", []string{"iptables-nft -t nat -N DOCKER_OUTPUT", "iptables-nft -t nat -A DOCKER_OUTPUT -d 127.0.0.11 -p tcp --dport 53 -j DNAT --to-destination 127.0.0.11:40001", "iptables-nft -t nat -A OUTPUT -d 127.0.0.11 -j DOCKER_OUTPUT"}, none},
	{"iptables, a transparent proxy", []string{"iptables-nft -t mangle -A PREROUTING -p tcp ! -d 127.0.0.1 -j TPROXY --on-port 15006 --tproxy-mark 1337"}, in},
	{"iptables, forwarded ports elsewhere", []string{"iptables-nft -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.9.9.9:80", "iptables-nft -t nat -A POSTROUTING -j MASQUERADE"}, none},
	{"ip6tables, out", []string{"ip6tables-nft -t nat -A OUTPUT -p tcp -j REDIRECT --to-ports 15001"}, out},
	{"ip6tables, translation", []string{"ip6tables-nft -t nat -A OUTPUT -p tcp -j DNAT --to-destination [::1]:15001"}, out},
	{"legacy, out", []string{"iptables-legacy -t nat -A OUTPUT -p tcp -m owner ! --uid-owner 1337 -j REDIRECT --to-ports 15001"}, out},
	{"legacy, out by chains", []string{"iptables-legacy -t nat -N A", "iptables-legacy -t nat -N B", "iptables-legacy -t nat -A B -p tcp -j REDIRECT --to-ports 15001", "iptables-legacy -t nat -A A -d 127.0.0.1 -j RETURN", "iptables-legacy -t nat -A A -g B", "iptables-legacy -t nat -A OUTPUT -p tcp -j A"}, out},
	{"legacy, a chain that nothing goes to", []string{"iptables-legacy -t nat -N A", "iptables-legacy -t nat -A A -p tcp -j REDIRECT --to-ports 15001", "iptables-legacy -t nat -A OUTPUT -p tcp -j ACCEPT"}, none},
	{"legacy, in", []string{"iptables-legacy -t nat -A PREROUTING -p tcp -j REDIRECT --to-ports 15006"}, in},
	{"legacy, a transparent proxy", []string{"iptables-legacy -t mangle -A PREROUTING -p tcp -j TPROXY --on-port 15006 --tproxy-mark 1337"}, in},
	{"legacy, translation", []string{"iptables-legacy -t nat -A OUTPUT -p tcp -j DNAT --to-destination 127.0.0.1:15001"}, out},
	{"legacy, Docker's name server", []string{"iptables-legacy -t nat -A OUTPUT -d 127.0.0.11 -p tcp -j DNAT --to-destination 127.0.0.11:40001"}, none},
	{"legacy, IPv6, out", []string{"ip6tables-legacy -t nat -A OUTPUT -p tcp -j REDIRECT --to-ports 15001"}, out},
	{"legacy, IPv6, translation", []string{"ip6tables-legacy -t nat -A OUTPUT -p tcp -j DNAT --to-destination [::1]:15001"}, out},
	{"nft, one table for both families", []string{"nft table inet mesh { chain o { type nat hook output priority -100; meta skuid != 1337 tcp dport != 22 redirect to :15001; }; }"}, out},
	{"nft, a map of chains", []string{"nft table ip mesh { chain r { tcp dport 1-65535 redirect to :15001; }; chain o { type nat hook output priority -100; meta l4proto vmap { tcp : jump r }; }; }"}, out},
	{"nft, translation", []string{"nft table ip6 mesh { chain o { type nat hook output priority -100; meta l4proto tcp dnat to [::1]:15001; }; }"}, out},
	{"nft, a transparent proxy", []string{"nft table inet mesh { chain p { type filter hook prerouting priority -150; meta l4proto tcp tproxy to :15006 meta mark set 1337 accept; }; }"}, in},
	{"nft, no redirect", []string{"nft table ip mesh { chain o { type nat hook output priority -100; tcp dport 80 dnat to 10.9.9.9; }; chain f { type filter hook prerouting priority 0; drop; }; }"}, none},
}

func TestRedirects(t *testing.T) {
	for _, tt := range redirectCases {
		t.Run(tt.name, func(t *testing.T) {
			ns := testnet.New(t).Namespace("pod")
			for _, r := range tt.rules {
				words := strings.Fields(r)
				testnet.RequireTool(t, words[0])
				args := words[1:]
				if words[0] == "nft" {
					args = []string{strings.TrimPrefix(r, "nft ")}
				}
				if o, err := ns.Command(words[0], args...).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v: %s", r, err, o)
				}
			}
			expect(t, ns, "", tt.want)
		})
	}
}

// expect looks at a namespace.
func expect(t *testing.T, ns *testnet.NS, when string, want wire.Mesh) {
	t.Helper()
	if got, err := wire.Redirects(ns.Path); err != nil || got != want {
		t.Errorf("%s: %+v, %v; want %+v", when, got, err, want)
	}
}

// TestRedirectsOfMeshes takes whole sets of rules, there and gone again.
func TestRedirectsOfMeshes(t *testing.T) {
	for _, tool := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(tool, func(t *testing.T) {
			ns := testnet.New(t).Namespace("pod")
			ns.MeshRules(tool)
			expect(t, ns, "placed", both)
			for _, f := range []string{tool, strings.Replace(tool, "ip", "ip6", 1)} {
				for _, chain := range []string{"OUTPUT", "PREROUTING"} {
					if o, err := ns.Command(f, "-t", "nat", "-F", chain).CombinedOutput(); err != nil {
						t.Fatalf("%s: %v: %s", f, err, o)
					}
				}
			}
			expect(t, ns, "taken away", none)
		})
	}
	t.Run("lab", func(t *testing.T) {
		ns := testnet.New(t).Namespace("pod")
		s, err := lab.StartSidecar(lab.SidecarConfig{NetNS: ns.Path})
		if err != nil {
			t.Fatal(err)
		}
		expect(t, ns, "with a sidecar", both)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		expect(t, ns, "after it", none)
	})
}

// TestRedirectsLeaveNoTable looks whether looking makes what was not there.
func TestRedirectsLeaveNoTable(t *testing.T) {
	ns := testnet.New(t).Namespace("pod")
	expect(t, ns, "empty", none)
	for _, file := range []string{"/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"} {
		o, err := ns.Command("cat", file).CombinedOutput()
		if err == nil && len(o) > 0 {
			t.Errorf("%s has %q, want none", file, o)
		}
	}
}
