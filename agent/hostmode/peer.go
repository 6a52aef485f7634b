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

// source is the host's end of a connection: it identifies the owner even if the far end was translated.
type source struct {
	space uint32
	addr  packet.Addr
	port  uint16
	proto uint8
}

// holder is the owner of a source, and its expiry, with its monotonic reading; zero while the connection is open.
type holder struct {
	workload string
	detail   *flow.Detail
	until    time.Time
}

// heldAfter is how long a source is kept after its connection, because the other end's last record comes later.
const heldAfter = 10 * time.Second

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
		if h, ok := w.sources[source{s.ino, addr, port, f.Proto}]; ok {
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

// hurry triggers an early listing, for an unknown socket. w.mu is held.
func (w *Watcher) listEarly() {
	if now := time.Now(); now.Sub(w.hurried) >= w.cfg.Every/3 {
		w.hurried = now
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// hold stores the owner of the host's end of a connection. w.mu is held.
func (w *Watcher) holdSource(k *tuple, workload string, p *process) {
	if len(w.sources) >= w.cfg.MaxConnections {
		return
	}
	h := holder{workload: workload}
	if p != nil {
		h.detail = p.detail
	}
	w.sources[source{k.space, k.local, k.localPort, k.proto}] = h
}

// releaseSource sets the expiry of the host's end of a connection, unless another connection shares it, as those of
// a server do. w.mu is held.
func (w *Watcher) releaseSource(k *tuple) {
	x := source{k.space, k.local, k.localPort, k.proto}
	if h, ok := w.sources[x]; ok {
		h.until = time.Now().Add(heldAfter)
		w.sources[x] = h
	}
}

// deleteExpired deletes expired holders. w.mu is held.
func (w *Watcher) deleteExpired() {
	now := time.Now()
	for k, h := range w.sources {
		if !h.until.IsZero() && h.until.Before(now) || w.spaces[k.space] == nil {
			delete(w.sources, k)
		}
	}
}
