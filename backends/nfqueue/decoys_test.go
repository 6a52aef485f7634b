//go:build linux

package nfqueue_test

import (
	"testing"

	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/stage/decoys"
)

func decoyed() decoys.Backend {
	return decoys.Backend{New: func() backend.Backend { return nfqueue.New(nfqueue.Config{}) }, Endpoint: oneHarness().Endpoint}
}

func TestDecoys(t *testing.T)             { decoys.Run(t, decoyed()) }
func TestClosedWhileHolding(t *testing.T) { decoys.CloseWhileHolding(t, decoyed()) }
