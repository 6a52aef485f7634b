package role

import (
	"bytes"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/packet"
)

// Memory has the sides and applications of sessions that lived when an earlier run ended, by a
// hash of their ends. It is not changed once it is in use; nil remembers nothing.
type Memory struct {
	// Until is when it is of no use any more, ns since the epoch.
	Until int64
	// LowerIsClient is by Hash: the end that sorts first is the client.
	LowerIsClient map[uint64]bool
	// Apps has, by Hash, the applications of UDP conversations; app.None for those that were seen
	// from their beginning and had no name.
	Apps map[uint64]app.ID
}

// App returns the application of a remembered conversation; app.Undecided where it is not known.
func (m *Memory) App(seed Seed, t *Tuple) app.ID {
	if m == nil || t.Proto != packet.ProtoUDP {
		return app.Undecided
	}
	h, _ := seed.Hash(t)
	if a, ok := m.Apps[h]; ok {
		return a
	}
	return app.Undecided
}

// Seed is the part of a Hash that is the workload's.
type Seed uint64

// FNV-1a, 64 bits.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// SeedOf is the seed of a workload's id.
func SeedOf(workload string) Seed {
	h := uint64(fnvOffset)
	for i := range len(workload) {
		h = (h ^ uint64(workload[i])) * fnvPrime
	}
	return Seed(h)
}

// Hash is that of a session's ends, the same for both orientations; lower reports whether the
// local end sorts first.
func (s Seed) Hash(t *Tuple) (h uint64, lower bool) {
	a, b, ap, bp := &t.Local, &t.Remote, t.LocalPort, t.RemotePort
	c := bytes.Compare(a[:], b[:])
	if lower = c < 0 || c == 0 && ap <= bp; !lower {
		a, b, ap, bp = b, a, bp, ap
	}
	h = (uint64(s) ^ uint64(t.Proto)) * fnvPrime
	h = end(h, a, ap)
	return end(h, b, bp), lower
}

func end(h uint64, addr *packet.Addr, port uint16) uint64 {
	for _, x := range addr {
		h = (h ^ uint64(x)) * fnvPrime
	}
	h = (h ^ uint64(port>>8)) * fnvPrime
	return (h ^ uint64(port&0xff)) * fnvPrime
}

// side is the local end's in a remembered session.
func (m *Memory) side(seed Seed, t *Tuple) Side {
	if m == nil {
		return Unknown
	}
	h, lower := seed.Hash(t)
	switch client, ok := m.LowerIsClient[h]; {
	case !ok:
		return Unknown
	case client == lower:
		return Client
	}
	return Server
}
