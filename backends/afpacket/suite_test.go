//go:build linux

package afpacket_test

import (
	"testing"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/backends/backendtest"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// harness describes one method of attaching.
func harness(cfg afpacket.Config, child string, ep func(*testnet.Workload) backend.Endpoint) backendtest.Harness {
	return backendtest.Harness{
		New: func(testing.TB) backend.Backend { return afpacket.New(cfg) },
		Endpoint: func(id uint32, w *testnet.Workload, fail backend.FailMode) backend.Endpoint {
			e := ep(w)
			e.ID, e.NetNS, e.Interface, e.Index, e.MAC, e.Fail = id, w.Path, w.Interface, w.Index, w.MAC, fail
			return e
		},
		Child: child,
	}
}

func asTap(*testnet.Workload) backend.Endpoint { return backend.Endpoint{Kind: backend.Tap} }

func onHost(w *testnet.Workload) backend.Endpoint {
	return backend.Endpoint{Kind: backend.Inline, Hook: backendtest.HostHook(w)}
}

func onOwn(w *testnet.Workload) backend.Endpoint {
	return backend.Endpoint{Kind: backend.Inline, Hook: backendtest.OwnHook(w)}
}

func tapHarness() backendtest.Harness {
	return harness(afpacket.Config{TapRing: 4 << 20}, "TestServeTap", asTap)
}

func inlineHarness() backendtest.Harness {
	return harness(afpacket.Config{}, "TestServeInline", onHost)
}

func clsactHarness() backendtest.Harness {
	return harness(afpacket.Config{Steering: afpacket.SteerClsact}, "TestServeClsact", onHost)
}

// The suites wait more than they work, so they run in parallel.

func TestTap(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, tapHarness())
}

func TestInline(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, inlineHarness())
}

func TestClsact(t *testing.T) {
	t.Parallel()
	h := clsactHarness()
	h.Rounds = 2
	backendtest.Run(t, h)
}

func TestInlineOwnSide(t *testing.T) {
	t.Parallel()
	h := harness(afpacket.Config{}, "", onOwn)
	h.Rounds = 2
	backendtest.Run(t, h)
}

func TestInlineRouted(t *testing.T) {
	t.Parallel()
	h := inlineHarness()
	h.Pair, h.Rounds = true, 2
	backendtest.Run(t, h)
}

func TestServeTap(t *testing.T)    { backendtest.Serve(t, tapHarness()) }
func TestServeInline(t *testing.T) { backendtest.Serve(t, inlineHarness()) }
func TestServeClsact(t *testing.T) { backendtest.Serve(t, clsactHarness()) }
