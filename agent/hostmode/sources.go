package hostmode

import (
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

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

// sources has the owners of the host's ends of connections, bounded. The watcher's lock guards it.
type sources struct {
	owners map[source]holder
	max    int
}

func newSources(limit int) sources { return sources{owners: map[source]holder{}, max: limit} }

// hold stores the owner of the host's end of a connection.
func (x *sources) hold(k *tuple, workload string, p *process) {
	if len(x.owners) >= x.max {
		return
	}
	h := holder{workload: workload}
	if p != nil {
		h.detail = p.detail
	}
	x.owners[source{k.space, k.local, k.localPort, k.proto}] = h
}

// release sets the expiry of the host's end of a connection, unless another connection shares it, as those of
// a server do.
func (x *sources) release(k *tuple, now time.Time) {
	end := source{k.space, k.local, k.localPort, k.proto}
	if h, ok := x.owners[end]; ok {
		h.until = now.Add(heldAfter)
		x.owners[end] = h
	}
}

// deleteExpired deletes expired owners, and those in namespaces that are no longer watched.
func (x *sources) deleteExpired(now time.Time, spaces map[uint32]*space) {
	for k, h := range x.owners {
		if !h.until.IsZero() && h.until.Before(now) || spaces[k.space] == nil {
			delete(x.owners, k)
		}
	}
}
