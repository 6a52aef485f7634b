package hold_test

import (
	"fmt"
	"testing"

	"github.com/sluicenet/sluice/core/hold"
	"github.com/sluicenet/sluice/core/packet"
)

// owner is the nth peer of a workload.
func owner(workload string, peer int) hold.Owner {
	return hold.Owner{Workload: workload, Peer: packet.Addr{14: byte(peer >> 8), 15: byte(peer)}}
}

// fill holds packets of 1000 bytes for an owner until there is no room, one session for each
// 100 of them, and returns how many bytes are held then. n is the last session used.
func fill(r *hold.Room, n *uint32, o hold.Owner) (size int) {
	f := frame(string(make([]byte, 1000)))
	for i := 0; ; i++ {
		if i%100 == 0 {
			*n++
			r.Begin(*n, o)
		}
		if !r.Fits(*n, o, hold.Sum{Frames: 1, Bytes: len(f.Data)}) {
			return size
		}
		r.Put(*n, f, hold.Piece{})
		size += len(f.Data) + hold.Overhead
	}
}

// TestShares fills the room by one session, peer and workload after the other: each has its
// bound, and what one workload holds leaves others their reserve.
func TestShares(t *testing.T) {
	const step = 1000 + hold.Overhead
	within := func(what string, got, want int) {
		t.Helper()
		if got > want || got <= want-step {
			t.Errorf("%s holds %d bytes, want %d", what, got, want)
		}
	}
	var r hold.Room
	n := uint32(0)
	within("a peer", fill(&r, &n, owner("a", 1)), hold.PeerBytes)
	sum := r.Bytes()
	for i := 2; i < 20; i++ {
		sum += fill(&r, &n, owner("a", i))
	}
	within("a workload", sum, hold.WorkloadBytes)
	within("another workload's peer", fill(&r, &n, owner("b", 1)), hold.PeerBytes)
	for i := range 100 {
		fill(&r, &n, owner(fmt.Sprint("flood ", i), i))
	}
	if got := fill(&r, &n, owner("late", 1)); got > hold.Reserve || got <= hold.Reserve-step {
		t.Errorf("a workload that comes to a full room holds %d bytes, want its reserve of %d", got, hold.Reserve)
	}
	for i := uint32(1); i <= n; i++ {
		r.TakeAll(i)
	}
	if r.Bytes() != 0 {
		t.Errorf("%d bytes are held of nothing", r.Bytes())
	}
	within("a peer, after all was taken", fill(&r, &n, owner("a", 1)), hold.PeerBytes)
}

// TestSessionBytes has one session of many peers' share: its own bound is by bytes, and a
// sender may cut them as it likes.
func TestSessionBytes(t *testing.T) {
	var r hold.Room
	o := owner("w", 1)
	r.Begin(1, o)
	count := 0
	for r.Fits(1, o, hold.Sum{Frames: 1, Bytes: 60}) {
		r.Put(1, frame(string(make([]byte, 60))), hold.Piece{})
		count++
	}
	if want := hold.SessionBytes / (60 + hold.Overhead); count != want {
		t.Errorf("%d packets, want %d", count, want)
	}
	if r.Fits(0, o, hold.Sum{Frames: 1, Bytes: 60}) {
		t.Error("a new session of the same peer has room beyond the peer's share")
	}
}

// TestFrameBound is the bound of a queue that keeps held packets itself.
func TestFrameBound(t *testing.T) {
	r := hold.Room{MaxFrames: 3}
	o := owner("w", 1)
	put(&r, 1, "a", "b")
	if !r.Fits(2, o, hold.Sum{Frames: 1}) || r.Fits(2, o, hold.Sum{Frames: 2}) {
		t.Error("the packets of all sessions are not bounded")
	}
}
