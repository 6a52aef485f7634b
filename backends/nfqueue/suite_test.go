//go:build linux

package nfqueue_test

import (
	"testing"

	"github.com/sluicenet/sluice/backends/backendtest"
	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// harness describes one method of attaching a whole interface.
func harness(cfg nfqueue.Config, child string) backendtest.Harness {
	return backendtest.Harness{
		New: func(testing.TB) backend.Backend { return nfqueue.New(cfg) },
		Endpoint: func(id uint32, w *testnet.Workload, fail backend.FailMode) backend.Endpoint {
			return backend.Endpoint{
				ID: id, Kind: backend.Inline, NetNS: w.Path, Interface: w.Interface, Index: w.Index, MAC: w.MAC, Fail: fail,
				Hook: backend.Hook{NetNS: w.Path, Interface: w.Interface, Index: w.Index, Side: backend.StackSide},
			}
		},
		Child: child,
	}
}

func oneHarness() backendtest.Harness { return harness(nfqueue.Config{}, "TestServe") }

func TestOne(t *testing.T) { backendtest.Run(t, oneHarness()) }

func TestServe(t *testing.T) { backendtest.Serve(t, oneHarness()) }

func TestSeveral(t *testing.T) {
	h := harness(nfqueue.Config{Queues: 4}, "")
	h.Rounds = 3
	backendtest.Run(t, h)
}

func TestRouted(t *testing.T) {
	h := harness(nfqueue.Config{Expression: nfqueue.ExprTarget}, "")
	h.Pair, h.Rounds = true, 3
	backendtest.Run(t, h)
}
