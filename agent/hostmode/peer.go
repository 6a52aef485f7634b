package hostmode

import (
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// Peer is who has the host's end of a connection.
type Peer struct {
	Workload string       // id
	Detail   *flow.Detail // its process; nil where that is not known
}

// source is the host's end of a connection: enough to tell whose it is, also where the far end was
// translated on the way.
type source struct {
	space uint32
	addr  packet.Addr
	port  uint16
	proto uint8
}

// holder is who has a source, and until when it is remembered (ns since the epoch; 0 while the
// connection is open).
type holder struct {
	workload string
	detail   *flow.Detail
	until    int64
}

// heldAfter is how long a source is remembered after its connection: the other end's last record comes later.
const heldAfter = 10 * time.Second

// Peer is who has the host's end of a connection that a workload of this machine reported. Any goroutine
// may ask.
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
		// A socket that is not connected, or not listed as such yet: whoever has bound the port.
		pid := s.listeners[listener{f.Proto, port}]
		if pid == 0 {
			w.hurry()
			continue
		}
		p := w.owners.byPid(pid)
		if x, ok := s.owner(p); ok && p != nil {
			return Peer{x.ID, p.detail}, true
		}
	}
	return Peer{}, false
}

// hurry has sockets listed before their time, for one that is not known. w.mu is held.
func (w *Watcher) hurry() {
	if now := time.Now(); now.Sub(w.hurried) >= w.cfg.Every/3 {
		w.hurried = now
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// hold remembers whose the host's end of a connection is. w.mu is held.
func (w *Watcher) hold(k *tuple, workload string, p *process) {
	if len(w.sources) >= w.cfg.MaxConnections {
		return
	}
	h := holder{workload: workload}
	if p != nil {
		h.detail = p.detail
	}
	w.sources[source{k.space, k.local, k.localPort, k.proto}] = h
}

// release has the host's end of a connection forgotten in a while, unless another connection has
// it: a server's ends are all the same. w.mu is held.
func (w *Watcher) release(k *tuple, stamp int64) {
	x := source{k.space, k.local, k.localPort, k.proto}
	if h, ok := w.sources[x]; ok {
		h.until = stamp + int64(heldAfter)
		w.sources[x] = h
	}
}

// forget forgets what is over. w.mu is held.
func (w *Watcher) forget(now int64) {
	for k, h := range w.sources {
		if h.until != 0 && h.until < now || w.spaces[k.space] == nil {
			delete(w.sources, k)
		}
	}
}
