package agent

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// TestSocketUse checks that what a namespace is said not to use has no sockets, for each family and state.
func TestSocketUse(t *testing.T) {
	testnet.RequireRoot(t)
	b := testnet.New(t).Bridge("web", "api")
	web, api := b.Workloads[0], b.Workloads[1]
	use := func(ns *testnet.Workload) string {
		t.Helper()
		var u socketUse
		if err := netns.Do(ns.Path, func() error { u = readUse("/proc/thread-self/net"); return nil }); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("tcp %v %v udp %v %v", u.tcp[unix.AF_INET], u.tcp[unix.AF_INET6], u.udp[unix.AF_INET], u.udp[unix.AF_INET6])
	}
	check := func(what string, ns *testnet.Workload, want string) {
		t.Helper()
		if got := use(ns); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	check("nothing", web, "tcp false false udp false false")
	l := api.Listen("tcp4", api.Addr("tcp4", 80))
	check("a listener", api, "tcp true false udp false false")
	c := web.Dial("tcp4", api.Addr("tcp4", 80))
	check("a client", web, "tcp true false udp false false")
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	l.Close()
	check("a connection without its listener", api, "tcp true false udp false false")
	c.Close()
	web.ListenPacket("udp6", web.Addr("udp6", 53))
	if got := use(web); !strings.HasSuffix(got, "udp false true") {
		t.Errorf("udp over IPv6: %s", got)
	}
	if u := readUse(t.TempDir()); !u.tcp[unix.AF_INET] || !u.tcp[unix.AF_INET6] || !u.udp[unix.AF_INET] || !u.udp[unix.AF_INET6] {
		t.Errorf("unknown is taken for unused: %+v", u)
	}
}
