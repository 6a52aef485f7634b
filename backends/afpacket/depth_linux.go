package afpacket

import (
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
)

var _ backend.Gauge = (*inline)(nil)

// depth returns the content of the blocks that the kernel has handed over.
func (t *tap) depth() (d backend.Depth) {
	t.whileOpen(func() {
		s := t.sock.Load()
		blocks := 0
		for i := range s.blocks {
			base := i * s.blockSize
			if s.ring.status(base+blockStatus)&unix.TP_STATUS_USER != 0 {
				blocks++
				d.Waiting += uint64(s.ring.u32(base + blockPackets))
			}
		}
		d.Fill = float64(blocks) / float64(s.blocks)
	})
	return d
}

// Depth implements backend.Gauge. It samples a few slots of each ring, so that the worker
// does not have to wait for the cache lines of all.
func (q *inline) Depth() (d backend.Depth) {
	q.whileOpen(func() {
		for _, r := range []*receiver{&q.small, &q.large} {
			fill := r.sample()
			d.Waiting += uint64(fill * float64(r.slots.n))
			d.Fill = max(d.Fill, fill)
		}
	})
	return d
}

// samples is the number of slots of a ring that are sampled.
const samples = 64

// sample returns how much of the ring is in use. Any goroutine may call it while the ring is
// mapped.
func (r *receiver) sample() float64 {
	step := max(1, r.slots.n/samples)
	taken, looked := 0, 0
	for i := 0; i < r.slots.n; i += step {
		looked++
		if r.mem.status(r.slots.at(i)+v2Status)&unix.TP_STATUS_USER != 0 {
			taken++
		}
	}
	return float64(taken) / float64(looked)
}
