package agent

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/internal/netns"
)

// socketsEvery is the interval between readings of sockets. It grows with the number of workloads, to
// bound the load.
func socketsEvery(workloads int) time.Duration {
	return max(2*time.Second, time.Duration(workloads)*40*time.Millisecond)
}

// socketReader reads the sockets of workloads and reports them to the engine.
type socketReader struct {
	engine Dataplane
	policy *enforcement
	log    *slog.Logger
}

// refresh reports the sockets of a workload to the engine: its listeners, and the
// remaining connections from before it was attached.
func (r *socketReader) refresh(t *tracked) {
	s, err := socketsOf(t.NetNS, false)
	if err != nil {
		r.log.Debug("sockets not read", "workload", t.ID, "error", err)
		s = &socketList{}
	}
	if t.sockets == nil {
		t.sockets = &role.Sockets{}
	}
	n := role.Sockets{Complete: s.complete, Listening: s.listening, Old: map[uint16]bool{}, Live: t.sockets.Live, Dynamic: s.dynamic}
	for port := range t.sockets.Old {
		if s.bound[port] || !s.complete {
			n.Old[port] = true
		}
	}
	t.sockets = &n
	r.setSockets(t)
}

// atAttach reads all sockets of a workload before its packets are seen (early), and again after: a
// socket opened meanwhile counts as older, as its first packet may have been missed.
func (r *socketReader) atAttach(t *tracked, e *endpoint, early bool) *socketList {
	s, err := socketsOf(t.NetNS, true)
	if err != nil {
		r.log.Warn("sockets not read, clients of open connections are guessed", "workload", t.ID, "error", err)
		s = &socketList{}
	}
	n := role.Sockets{Early: early, Complete: s.complete, Listening: s.listening, Old: s.bound, Live: s.live, Dynamic: s.dynamic}
	if t.sockets != nil {
		for port := range t.sockets.Old {
			n.Old[port] = true
		}
	}
	t.sockets = &n
	r.setSockets(t)
	r.engine.SetSockets(e.id, t.sockets) // it may not be attached yet
	return s
}

func (r *socketReader) setSockets(t *tracked) {
	for _, e := range t.endpoints {
		if e.at.Kind != backend.NoKind {
			r.engine.SetSockets(e.id, t.sockets)
		}
	}
}

// inet_diag (linux/inet_diag.h): the fixed parts of request and response.
const (
	diagRequest = 56
	diagSource  = 4 // offset of the source port in a response, big endian
	diagDest    = 6
	diagFrom    = 8 // of the source address; the destination's is 16 bytes behind
	diagTo      = 24
	diagAnswer  = 72

	stateEstablished = 1 << 1
	stateClose       = 1 << 7  // TCP_CLOSE: a UDP socket that is not connected
	stateListen      = 1 << 10 // TCP_LISTEN
	// statesOpen: a TCP connection that may carry something yet: SYN_RECV, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT,
	// LAST_ACK and CLOSING beside ESTABLISHED.
	statesOpen = stateEstablished | 1<<3 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11
	// statesIdle: those in which a connection may be silent for hours: ESTABLISHED, FIN_WAIT2, CLOSE_WAIT.
	statesIdle = stateEstablished | 1<<5 | 1<<8
)

// Bounds for one workload. Beyond maxListening the list is not complete.
const (
	maxListening = 4096
	maxLive      = 4096
	maxOpen      = 16384
)

// socketList is the result of reading a workload's sockets.
type socketList struct {
	complete  bool
	listening map[role.Port]bool
	bound     map[uint16]bool // UDP, connected or not
	live      map[role.Tuple]role.Side
	open      map[role.Tuple]bool // that may be idle for long: established, or closed by one end only
	dynamic   [2]uint16           // ephemeral ports
	use       socketUse
}

// socketsOf reads the sockets in the namespace at path; with all, open connections too.
func socketsOf(path string, all bool) (*socketList, error) {
	l := &socketList{complete: true, listening: map[role.Port]bool{}, bound: map[uint16]bool{}, live: map[role.Tuple]role.Side{}, open: map[role.Tuple]bool{}}
	err := netns.Do(path, func() error {
		l.dynamic = dynamicPorts()
		l.use = readUse("/proc/thread-self/net")
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			if err := l.read(family, all); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	l.assignSides()
	return l, nil
}

// read adds the sockets of one family. An IPv6 socket may serve IPv4, too, so ports count for both.
func (l *socketList) read(family uint8, all bool) error {
	states := uint32(stateListen)
	if all {
		states |= statesOpen
	}
	var err error
	if l.use.tcp[family] {
		err = diag(family, unix.IPPROTO_TCP, states, l.tcp)
	}
	if err == nil && l.use.udp[family] {
		err = diag(family, unix.IPPROTO_UDP, stateClose|stateEstablished, l.udp)
	}
	if err != nil {
		return fmt.Errorf("inet_diag: %w", err)
	}
	if l.use.sctp { // the diagnostic module may be missing
		_ = diag(family, unix.IPPROTO_SCTP, stateListen, func(s *diagSocket) { l.serves(unix.IPPROTO_SCTP, s.t.LocalPort) })
	}
	return nil
}

// tcp adds a TCP socket.
func (l *socketList) tcp(s *diagSocket) {
	if 1<<s.state == stateListen {
		l.serves(unix.IPPROTO_TCP, s.t.LocalPort)
		return
	}
	l.connection(s)
}

// serves adds a port on which the workload serves.
func (l *socketList) serves(proto uint8, port uint16) {
	switch {
	case port == 0:
	case len(l.listening) >= maxListening:
		l.complete = false
	default:
		l.listening[role.Port{Proto: proto, Port: port}] = true
	}
}

// udp adds a UDP socket. One that is not connected is a server, unless its port may be ephemeral.
func (l *socketList) udp(s *diagSocket) {
	port := s.t.LocalPort
	if port != 0 {
		l.bound[port] = true
	}
	switch {
	case s.state == 1:
		l.connection(s)
	case port < l.dynamic[0] || port > l.dynamic[1]:
		l.serves(unix.IPPROTO_UDP, port)
	}
}

// connection adds an open connection; assignSides finds the workload's side when all are known.
func (l *socketList) connection(s *diagSocket) {
	if len(l.live) < maxLive {
		l.live[s.t] = role.Unknown
	}
	if statesIdle&(1<<s.state) != 0 && len(l.open) < maxOpen {
		l.open[s.t] = true
	}
}

// assignSides finds the workload's side of the open connections: it is the server if it listens on the local
// port. A connected UDP socket that does not is a client. Other TCP connections remain undecided here, as the
// list of ports decides them.
func (l *socketList) assignSides() {
	for t := range l.live {
		switch {
		case l.listening[role.Port{Proto: t.Proto, Port: t.LocalPort}]:
			l.live[t] = role.Server
		case t.Proto == packet.ProtoUDP:
			l.live[t] = role.Client
		default:
			delete(l.live, t)
		}
	}
}

// dynamicPorts returns net.ipv4.ip_local_port_range, for both families, of the calling thread's namespace.
func dynamicPorts() (r [2]uint16) {
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		_, err = fmt.Sscan(string(data), &r[0], &r[1])
	}
	if err != nil {
		return [2]uint16{role.Ephemeral, 60999}
	}
	return r
}

// diagSocket is one socket as inet_diag shows it.
type diagSocket struct {
	t     role.Tuple
	state uint8
}

// diagBody is a serialised inet_diag_req_v2.
type diagBody []byte

// Len and Serialize implement nl.NetlinkRequestData.
func (b diagBody) Len() int          { return len(b) }
func (b diagBody) Serialize() []byte { return b }

// diag calls fn for the kernel's sockets in some states.
func diag(family, proto uint8, states uint32, fn func(*diagSocket)) error {
	body := make(diagBody, diagRequest)
	body[0], body[1] = family, proto
	binary.NativeEndian.PutUint32(body[4:], states)
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.AddData(body)
	return req.ExecuteIter(unix.NETLINK_INET_DIAG, 0, func(m []byte) bool {
		if len(m) >= diagAnswer {
			fn(&diagSocket{state: m[1], t: role.Tuple{Proto: proto, Local: diagAddr(family, m[diagFrom:]), Remote: diagAddr(family, m[diagTo:]),
				LocalPort: binary.BigEndian.Uint16(m[diagSource:]), RemotePort: binary.BigEndian.Uint16(m[diagDest:])}})
		}
		return true
	})
}

// diagAddr reads an address. IPv4 is mapped into IPv6 (RFC 4291 2.5.5.2), as in packet.Addr.
func diagAddr(family uint8, b []byte) (a packet.Addr) {
	if family == unix.AF_INET6 {
		copy(a[:], b)
		return a
	}
	a[10], a[11] = 0xff, 0xff
	copy(a[12:], b[:4])
	return a
}
