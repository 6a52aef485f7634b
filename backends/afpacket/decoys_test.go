//go:build linux

package afpacket_test

import (
	"testing"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/stage/decoys"
)

func decoyed() decoys.Backend {
	return decoys.Backend{New: func() backend.Backend { return afpacket.New(afpacket.Config{}) }, Endpoint: inlineHarness().Endpoint}
}

func TestDecoys(t *testing.T)             { decoys.Run(t, decoyed()) }
func TestClosedWhileHolding(t *testing.T) { decoys.CloseWhileHolding(t, decoyed()) }
