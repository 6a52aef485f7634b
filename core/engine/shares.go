package engine

import (
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/session"
)

// shares splits sessions by the endpoint's worker that will have their frames.
func (a *attached) shares(sessions []path.Moved) [][]path.Moved {
	out := make([][]path.Moved, len(a.workers))
	spread, _ := a.att.(backend.Spreader)
	if len(out) == 0 {
		return nil
	}
	if spread == nil || len(out) == 1 {
		out[0] = sessions
		return out
	}
	for i := range sessions {
		at := spread.Place(peerOf(&sessions[i].Session))
		out[at] = append(out[at], sessions[i])
	}
	return out
}

// peerOf returns the end of a session that is not the endpoint's workload.
func peerOf(s *session.Session) packet.Addr {
	if s.Dir == packet.Egress {
		peer, _ := s.Server()
		return peer
	}
	peer, _ := s.Client()
	return peer
}
