package hold

import "github.com/sluicenet/sluice/core/packet"

// Bounds of what is held, in bytes with the overhead of each packet. There is none for the
// packets of a session, whose sender chooses how to cut its bytes.
const (
	SessionBytes  = 2 << 20  // of one session: more than identification reads, a byte a packet
	PeerBytes     = 2 << 20  // of one workload's sessions with one peer
	WorkloadBytes = 8 << 20  // of one workload
	MaxBytes      = 64 << 20 // of one Room
	// Reserve is what each workload may hold, however much others do.
	Reserve = 256 << 10
	// Overhead is what a packet counts beside its bytes.
	Overhead = 256
)

// Owner is who a held packet is charged to.
type Owner struct {
	Workload string
	Peer     packet.Addr
}

// usage is what is held.
type usage struct{ frames, bytes int }

// Sum is the size of a packet about to be held, as Fits needs it.
type Sum struct{ Frames, Bytes int }

func cost(f *packet.Frame) int { return len(f.Data) + Overhead }

// count adds to what is held, or subtracts from it.
func (r *Room) count(q *queue, frames, size int) {
	q.used.frames += frames
	q.used.bytes += size
	r.total.frames += frames
	r.total.bytes += size
	if r.shares == nil {
		r.shares, r.peers = map[string]int{}, map[Owner]int{}
	}
	if r.shares[q.owner.Workload] += size; r.shares[q.owner.Workload] == 0 {
		delete(r.shares, q.owner.Workload)
	}
	if r.peers[q.owner] += size; r.peers[q.owner] == 0 {
		delete(r.peers, q.owner)
	}
}

// Fits reports whether there is room for a packet of a session, which may be new (n is 0).
func (r *Room) Fits(n uint32, o Owner, s Sum) bool {
	size := s.Bytes + s.Frames*Overhead
	own := 0
	if n != 0 && int(n) < len(r.queues) {
		own = r.queues[n].used.bytes
	}
	all := r.shares[o.Workload] + size
	switch {
	case own+size > SessionBytes, r.peers[o]+size > PeerBytes, all > WorkloadBytes:
		return false
	case r.MaxFrames > 0 && r.total.frames+s.Frames > r.MaxFrames:
		return false
	}
	return all <= Reserve || r.total.bytes+size <= MaxBytes
}
