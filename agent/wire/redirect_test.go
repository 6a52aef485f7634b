package wire_test

import (
	"testing"

	"github.com/sluicenet/sluice/agent/wire"
	"github.com/sluicenet/sluice/internal/lab"
	"github.com/sluicenet/sluice/internal/testnet"
)

func TestRedirects(t *testing.T) {
	testnet.RequireRoot(t)
	ns := testnet.New(t).Namespace("pod")
	look := func(when string, want bool) {
		t.Helper()
		if got, err := wire.Redirects(ns.Path); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", when, got, err, want)
		}
	}
	look("before", false)
	s, err := lab.StartSidecar(ns.Path)
	if err != nil {
		t.Fatal(err)
	}
	look("with a sidecar", true)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	look("after", false)
	out, err := ns.Command("iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "REDIRECT", "--to-ports", "15001").CombinedOutput()
	if err != nil {
		t.Logf("iptables cannot be had: %s", out)
		return
	}
	look("by iptables", true)
}
