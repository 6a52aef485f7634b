package workload_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// ip runs ip(8) inside of a namespace.
func ip(t *testing.T, ns *testnet.NS, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if out, err := ns.Command("ip", strings.Fields(l)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", l, err, out)
		}
	}
}

// shape describes the interfaces of a workload: "eth0", or "brin(eth0)" for one that eth0 carries.
func shape(w *workload.Workload) string {
	var out []string
	for _, i := range w.Interfaces {
		name := i.Name
		if i.Inner != "" {
			name += "(" + i.Inner + ")"
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

// TestInsideChanges makes every change that is possible inside of a workload; none ends it, and its
// interface stays listed until it is deleted.
func TestInsideChanges(t *testing.T) {
	testnet.RequireRoot(t)
	n := testnet.New(t)
	web := n.Bridge("web").Workloads[0]
	nested := n.Namespace("nested") // not selected: it is no workload
	more := n.Namespace("more")
	f := watch(t, workload.NetNSConfig{Patterns: []string{web.Name + "*"}, Poll: time.Hour})
	id := "netns:" + web.Name
	// What is reported of the first interface, too, and within the same time.
	details := map[string]func(first *workload.Interface) bool{
		"an address on lo only": func(i *workload.Interface) bool {
			has := fmt.Sprint(i.Addresses)
			return strings.Contains(has, "10.77.0.200/32") && strings.Contains(has, "fd77::200/128")
		},
		"another MAC address": func(i *workload.Interface) bool { return i.MAC == "02:00:00:00:00:77" },
		"a virtual router's interface": func(i *workload.Interface) bool {
			return fmt.Sprint(i.MACs) == "[00:00:5e:00:01:33]"
		},
	}
	steps := []struct {
		name  string
		lines []string
		want  string
	}{
		{"an address on lo only", []string{"addr add 10.77.0.200/32 dev lo", "addr add fd77::200/128 dev lo", "addr flush dev eth0"}, "eth0"},
		{"down", []string{"link set eth0 down"}, "eth0"},
		{"up again", []string{"link set eth0 up", "addr add 10.77.0.1/24 dev eth0", "addr add fd77::1/64 dev eth0 nodad"}, "eth0"},
		{"renamed", []string{"link set eth0 down", "link set eth0 name net0", "link set net0 up"}, "net0"},
		{"another MAC address", []string{"link set net0 address 02:00:00:00:00:77"}, "net0"},
		{"a bridge with a nested container", []string{"link add docker0 type bridge", "link set docker0 up", "link add vn type veth peer name eth0 netns " + nested.Name, "link set vn master docker0 up"}, "net0"},
		{"a bridge that takes the interface", []string{"link add brin type bridge", "link set brin up", "link set net0 master brin", "addr flush dev net0", "addr add 10.77.0.1/24 dev brin"}, "net0 brin(net0)"},
		{"gives it back", []string{"link set net0 nomaster", "link del brin", "addr add 10.77.0.1/24 dev net0"}, "net0"},
		{"a virtual router's interface", []string{"link add link net0 name vrrp51 address 00:00:5e:00:01:33 type macvlan mode bridge", "addr add 10.77.0.60/32 dev vrrp51", "addr add fd77::60/128 dev vrrp51 nodad", "link set vrrp51 up"}, "net0 vrrp51(net0)"},
		{"a network of nested containers without a bridge", []string{"link add vm type veth peer name eth0 netns " + more.Name, "addr add 10.88.0.1/24 dev vm", "link set vm up"}, "net0 vrrp51(net0) vm"},
		{"a point-to-point interface", []string{"tuntap add dev tun0 mode tun", "addr add 10.99.0.1/24 dev tun0", "addr add fd99::1/64 dev tun0 nodad", "link set tun0 up"}, "net0 vrrp51(net0) vm tun0"},
		{"interfaces deleted", []string{"link del vrrp51", "link del vm", "link del tun0"}, "net0"},
		{"everything deleted", []string{"link del net0"}, ""},
	}
	for _, s := range steps {
		if s.name == "renamed" {
			for _, c := range []string{"all", "default"} {
				web.Sysctl("net/ipv4/conf/"+c+"/forwarding", "1")
				web.Sysctl("net/ipv6/conf/"+c+"/forwarding", "1")
			}
		}
		ip(t, web.NS, s.lines...)
		begin := time.Now()
		f.until(s.name, func() bool {
			w := f.last[id]
			return w.NetNS != "" && shape(&w) == s.want && (details[s.name] == nil || details[s.name](&w.Interfaces[0]))
		})
		if took := time.Since(begin); took > time.Second {
			t.Errorf("%s: reported after %s, want less than a second", s.name, took)
		}
		f.mu.Lock()
		if k := f.count(workload.Removed); k != 0 {
			t.Errorf("%s: removed %d times", s.name, k)
		}
		f.mu.Unlock()
	}
}

// TestFoundAnyway starts with workloads in states that look like something else.
func TestFoundAnyway(t *testing.T) {
	testnet.RequireRoot(t)
	n := testnet.New(t)
	b := n.Bridge("two", "nest", "anycast", "enslaved")
	two, nest, anycast, enslaved := b.Workloads[0], b.Workloads[1], b.Workloads[2], b.Workloads[3]
	host, nested := b.Host, n.Namespace("inner")
	two.Sysctl("net/ipv4/ip_forward", "1")
	ip(t, host, "link add v2 type veth peer name eth1 netns "+two.Name, "link set v2 up")
	ip(t, two.NS, "link set eth1 up", "addr add 10.78.0.1/24 dev eth1")
	ip(t, nest.NS, "link add docker0 type bridge", "link set docker0 up", "link add vn type veth peer name eth0 netns "+nested.Name, "link set vn master docker0 up")
	ip(t, anycast.NS, "addr add 10.77.0.200/32 dev lo", "addr flush dev eth0")
	ip(t, enslaved.NS, "link add brin type bridge", "link set brin up", "link set eth0 master brin", "addr flush dev eth0", "addr add 10.77.0.4/24 dev brin")
	// By patterns, because a plain name would be an order.
	f := watch(t, workload.NetNSConfig{Patterns: []string{two.Name + "*", nest.Name + "*", anycast.Name + "*", enslaved.Name + "*"}, Poll: time.Hour})
	for _, tt := range []struct {
		w    *testnet.Workload
		want string
	}{{two, "eth0 eth1"}, {nest, "eth0"}, {anycast, "eth0"}, {enslaved, "eth0 brin(eth0)"}} {
		f.mu.Lock()
		w := f.last["netns:"+tt.w.Name]
		f.mu.Unlock()
		if shape(&w) != tt.want {
			t.Errorf("%s: interfaces %q, want %q", tt.w.Name, shape(&w), tt.want)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.last["netns:"+anycast.Name]; len(w.Interfaces) != 1 || len(w.Interfaces[0].Addresses) != 1 || w.Interfaces[0].Addresses[0].Addr() != netip.MustParseAddr("10.77.0.200") {
		t.Errorf("anycast has %+v", w.Interfaces)
	}
}
