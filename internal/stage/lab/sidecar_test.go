package lab_test

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/lab"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// TestSidecar goes through the proxy in both directions, out of its namespace and into it, with the lab's
// own rules and with those that a mesh places.
func TestSidecar(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules string // by which tool; "" are the lab's own
		cfg   lab.SidecarConfig
	}{
		{"own user", "", lab.SidecarConfig{}},
		{"shared user", "", lab.SidecarConfig{SharedUser: true}},
		{"iptables-nft", "iptables-nft", lab.SidecarConfig{NoRules: true}},
		{"iptables-legacy", "iptables-legacy", lab.SidecarConfig{NoRules: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ws := testnet.New(t).Bridge("pod", "peer").Workloads
			if tt.rules != "" {
				ws[0].MeshRules(tt.rules)
			}
			tt.cfg.NetNS = ws[0].Path
			sidecar(t, tt.cfg)
			for _, family := range []string{"tcp4", "tcp6"} {
				own := map[string]string{"tcp4": ws[0].IPv4.String(), "tcp6": ws[0].IPv6.String()}
				passes(t, family, ws[0], ws[1], own[family])
				passes(t, family, ws[1], ws[0], inbound[family])
			}
		})
	}
}

// inbound are the addresses from which a sidecar speaks to its application.
var inbound = map[string]string{"tcp4": "127.0.0.6", "tcp6": "::6"}

// TestSidecarsEncrypt has a proxy at both ends.
func TestSidecarsEncrypt(t *testing.T) {
	ws := testnet.New(t).Bridge("a", "b").Workloads
	m, err := lab.NewMutual()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range ws {
		sidecar(t, lab.SidecarConfig{NetNS: w.Path, Mutual: m, Meshed: func(netip.Addr) bool { return true }})
	}
	for _, family := range []string{"tcp4", "tcp6"} {
		passes(t, family, ws[0], ws[1], inbound[family])
		passes(t, family, ws[1], ws[0], inbound[family])
	}
}

func sidecar(t *testing.T, cfg lab.SidecarConfig) {
	t.Helper()
	s, err := lab.StartSidecar(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// passes sends something from one workload to another, whose server sees it come from an address.
func passes(t *testing.T, family string, from, to *testnet.Workload, sees string) {
	t.Helper()
	l := to.Listen(family, to.Addr(family, 0))
	seen := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		seen <- host
		_, _ = io.Copy(c, c)
		c.Close()
	}()
	c := from.Dial(family, l.Addr().String())
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 5)
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "hello" {
		t.Fatalf("%s to %s over %s: %q, %v", from.Name, to.Name, family, buf, err)
	}
	if got := <-seen; got != sees {
		t.Errorf("%s to %s over %s: the server sees %s, want %s", from.Name, to.Name, family, got, sees)
	}
}
