package agent

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/internal/netns"
)

// listenersEvery is how often listening sockets are read; the more workloads the rarer, so that it
// stays a small part of a core.
func listenersEvery(workloads int) time.Duration {
	return max(2*time.Second, time.Duration(workloads)*40*time.Millisecond)
}

// readListeners looks at the sockets of every workload, and for sidecars; it says whether one came or went.
func (a *Agent) readListeners() (changed bool) {
	for _, t := range a.workloads {
		a.listenersOf(t)
		before := t.mesh
		a.lookForSidecar(t)
		changed = changed || t.mesh != before
	}
	return changed
}

// listenersOf tells the engine the listening sockets of one workload.
func (a *Agent) listenersOf(t *tracked) {
	if len(t.endpoints) == 0 {
		return
	}
	l, err := listeners(t.NetNS)
	if err != nil {
		a.log.Debug("listening sockets not read", "workload", t.ID, "error", err)
		return
	}
	for _, e := range t.endpoints {
		if e.at.Kind != backend.NoKind {
			a.cfg.Engine.SetListeners(e.id, l)
		}
	}
}

// inet_diag (linux/inet_diag.h): the request's and the answer's fixed parts.
const (
	diagRequest  = 56
	diagSource   = 4 // offset of the source port in an answer, big endian
	diagAnswer   = 72
	stateListen  = 1 << 10 // TCP_LISTEN
	stateClose   = 1 << 7  // TCP_CLOSE: a UDP socket that is not connected
	firstDynamic = 32768   // UDP sockets above are clients' (net.ipv4.ip_local_port_range)
	maxListeners = 4096
)

// listeners reads the listening sockets inside the namespace at path.
func listeners(path string) ([]engine.Listener, error) {
	var out []engine.Listener
	seen := map[engine.Listener]bool{}
	add := func(l engine.Listener) {
		if l.Port == 0 || seen[l] || len(out) >= maxListeners || l.Proto == unix.IPPROTO_UDP && l.Port >= firstDynamic {
			return
		}
		seen[l] = true
		out = append(out, l)
	}
	err := netns.Do(path, func() error {
		for _, q := range []struct {
			proto  uint8
			states uint32
		}{{unix.IPPROTO_TCP, stateListen}, {unix.IPPROTO_UDP, stateClose}, {unix.IPPROTO_SCTP, stateListen}} {
			for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
				err := diag(family, q.proto, q.states, func(port uint16) { add(engine.Listener{Proto: q.proto, Port: port}) })
				if err != nil && q.proto != unix.IPPROTO_SCTP { // SCTP is a module that may be missing
					return fmt.Errorf("inet_diag: %w", err)
				}
			}
		}
		return nil
	})
	return out, err
}

// diagBody is a serialised inet_diag_req_v2.
type diagBody []byte

// Len and Serialize make it part of a netlink request.
func (b diagBody) Len() int          { return len(b) }
func (b diagBody) Serialize() []byte { return b }

// diag asks the kernel for the sockets in some states and gives their ports to fn.
func diag(family, proto uint8, states uint32, fn func(port uint16)) error {
	body := make(diagBody, diagRequest)
	body[0], body[1] = family, proto
	binary.NativeEndian.PutUint32(body[4:], states)
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.AddData(body)
	msgs, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
	if err != nil {
		return err
	}
	for _, m := range msgs {
		if len(m) >= diagAnswer {
			fn(binary.BigEndian.Uint16(m[diagSource:]))
		}
	}
	return nil
}
