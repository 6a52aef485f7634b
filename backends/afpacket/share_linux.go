package afpacket

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
)

// largeWeight is how many small slots count as much as a large one, as in bpf/share.h.
const largeWeight = 16

// setVariables sets the constants of the programs: the port, and the shares of its endpoints.
func setVariables(vars map[string]*ebpf.VariableSpec, port int, cfg Config) error {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return fmt.Errorf("draw seed: %w", err)
	}
	cost := uint64(0)
	if cfg.FirstPackets > 0 {
		cost = max(1, uint64(time.Second)/uint64(cfg.FirstPackets))
	}
	for _, v := range []struct {
		name  string
		value any
	}{
		{steerVarServicePort, uint32(port)}, {steerVarSeed, binary.NativeEndian.Uint64(b[:])},
		{steerVarFirstCost, cost}, {steerVarSmallFrame, uint32(smallFrame)},
	} {
		if err := vars[v.name].Set(v.value); err != nil {
			return fmt.Errorf("set %s: %w", v.name, err)
		}
	}
	return nil
}

// shareAmong sets the number of endpoints that share the rings. The backend's lock is held.
func (q *inline) shareAmong(endpoints int) {
	q.whileOpen(func() { storeU64(q.pulse.control, pulseEndpoints, uint64(endpoints)) })
}
