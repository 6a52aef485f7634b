package stream

import "github.com/sluicenet/sluice/core/packet"

// Owner is who the memory of an assembler is charged to: a workload, and the other end of the
// connection.
type Owner struct {
	Workload uint32
	Peer     packet.Addr
}

// An owner may have so many bytes for each one that is free, a workload and one of its peers: none
// can use up the memory of others, nor a peer that of the workload's other peers.
const (
	workloadShare = 7
	peerShare     = 1
)

// shares are the bytes in use by owner.
type shares struct {
	workloads map[uint32]int
	peers     map[Owner]int
	refused   uint64
}

func newShares() shares {
	return shares{workloads: map[uint32]int{}, peers: map[Owner]int{}}
}

// fits reports whether an owner may have more bytes, of those that are free.
func (s *shares) fits(o Owner, n, free int) bool {
	free -= n
	return free >= 0 && s.workloads[o.Workload]+n <= workloadShare*free && s.peers[o]+n <= peerShare*free
}

// count adds to the bytes of an owner.
func (s *shares) count(o Owner, n int) {
	if s.workloads[o.Workload] += n; s.workloads[o.Workload] == 0 {
		delete(s.workloads, o.Workload)
	}
	if s.peers[o] += n; s.peers[o] == 0 {
		delete(s.peers, o)
	}
}
