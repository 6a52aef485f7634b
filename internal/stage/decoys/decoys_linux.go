// Package decoys tests, for several backends, that an engine does not believe what the workload's network stack
// discards, and that it holds payload. It needs root.
package decoys

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/stage/rawtcp"
	"github.com/sluicenet/sluice/internal/stage/testnet"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// Backend describes a backend to the tests.
type Backend struct {
	// New returns a backend; the tests close it.
	New func() backend.Backend
	// Endpoint describes a workload to the backend, with the fail mode.
	Endpoint func(id uint32, w *testnet.Workload, fail backend.FailMode) backend.Endpoint
}

// Run has a client show an allowed application in segments that Linux discards, and the
// server another: without an engine the server gets what is not allowed, behind one never, and
// requests pass.
func Run(t *testing.T, b Backend) {
	testnet.RequireRoot(t)
	ws := testnet.New(t).Bridge("a", "b").Workloads
	server, client := ws[0], ws[1]
	s := rawtcp.Serve(server)
	for i, family := range []string{"ipv4", "ipv6"} {
		through, request := rawtcp.Run(t, client, server, s, i == 1, i)
		t.Logf("%s without an engine: %q", family, through)
		if len(through) < len(rawtcp.Decoys)*2/3 || !request {
			t.Errorf("%s without an engine: %d of %d decoys, request %v; too few to show anything", family, len(through), len(rawtcp.Decoys), request)
		}
	}
	e := onlyHTTP(t, server, b)
	for i, family := range []string{"ipv4", "ipv6"} {
		if through, request := rawtcp.Run(t, client, server, s, i == 1, 2+i); len(through) > 0 || !request {
			t.Errorf("%s: %q passed, want none; request passed: %v", family, through, request)
		}
	}
	if n := e.Stats().Counters["engine.bad_checksum"]; n == 0 {
		t.Error("no bad checksum was counted")
	}
}

// onlyHTTP attaches a workload to an engine that allows http to its port, and nothing else.
func onlyHTTP(t *testing.T, w *testnet.Workload, x Backend) *engine.Engine {
	t.Helper()
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	rule := policy.RuleSpec{ID: 7, Ports: []policy.PortSpec{{Proto: 6, Lo: rawtcp.Port, Hi: rawtcp.Port}}}
	rule.Apps = append(rule.Apps, 1001) // http
	table, err := policy.Compile(&policy.Spec{
		Version: 1, Groups: []policy.GroupSpec{{Name: "any", Any: true}}, Identities: []policy.IdentitySpec{{Groups: []uint32{0}}},
		Workloads: []policy.WorkloadSpec{{ID: "a", Mode: policy.Protect}},
		Rules:     []policy.RuleSpec{rule},
	})
	if err != nil {
		t.Fatal(err)
	}
	e, b := engine.New(engine.Config{Parsers: reg}), x.New()
	t.Cleanup(func() {
		if err := errors.Join(e.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	})
	e.Apply(table)
	if err := e.Attach(context.Background(), b, x.Endpoint(1, w, backend.FailClosed), "a"); err != nil {
		t.Fatal(err)
	}
	return e
}

// CloseWhileHolding closes an engine that holds payload: it is dropped, and nothing fails.
func CloseWhileHolding(t *testing.T, b Backend) {
	testnet.RequireRoot(t)
	ws := testnet.New(t).Bridge("a", "b").Workloads
	rawtcp.Serve(ws[0])
	e := onlyHTTP(t, ws[0], b)
	for _, network := range []string{"tcp4", "tcp6"} {
		c := ws[1].Dial(network, ws[0].Addr(network, rawtcp.Port))
		if _, err := c.Write([]byte("GET /ha")); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(5 * time.Second); e.Stats().Counters["engine.held"] < 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing was held")
		}
	}
}
