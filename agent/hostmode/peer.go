package hostmode

import (
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// Peer is the owner of the host's end of a connection.
type Peer struct {
	Workload string       // id
	Detail   *flow.Detail // its process; nil if unknown
}

// Peer returns the owner of the host's end of a connection that a workload of this machine reported.
// It is safe for concurrent use.
func (w *Watcher) Peer(f *flow.Record) (Peer, bool) {
	addr, port := f.Client, f.ClientPort
	if f.Dir == packet.Egress {
		addr, port = f.Server, f.ServerPort
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.spaces {
		if h, ok := w.sources.owners[source{s.ino, addr, port, f.Proto}]; ok {
			return Peer{h.workload, h.detail}, true
		}
		if !s.own[addr] {
			continue
		}
		// A socket that is not connected, or not yet listed as such: the owner of the port.
		pid := s.listeners[listener{f.Proto, port}]
		if pid == 0 {
			w.listEarly()
			continue
		}
		p := w.owners.byPid(pid)
		if x, ok := s.owner(p); ok && p != nil {
			return Peer{x.ID, p.detail}, true
		}
	}
	return Peer{}, false
}

// listEarly triggers an early listing, for an unknown socket. w.mu is held.
func (w *Watcher) listEarly() {
	if now := time.Now(); now.Sub(w.hurried) >= w.cfg.Every/3 {
		w.hurried = now
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}
