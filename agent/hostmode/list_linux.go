package hostmode

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/netns"
)

// socket is one line of a listing.
type socket struct {
	tuple
	inode uint32
	state uint8
	now   totals
}

// inet_diag (linux/inet_diag.h): the fixed parts of request and response, and the offsets of their fields.
const (
	diagRequest = 56
	diagAnswer  = 72
	diagInfo    = 2 // INET_DIAG_INFO: a tcp_info follows
	infoAcked   = 120
	infoLength  = 144
)

// the requested states, as bits.
const (
	statesOpen = 1<<established | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11 // and the closing states
	statesPast = 1<<synSent | 1<<timeWait
)

// list lists the sockets of every namespace.
func (w *Watcher) list() {
	w.mu.Lock()
	type job struct {
		ino    uint32
		path   string
		traced bool
	}
	var jobs []job
	for _, s := range w.spaces {
		jobs = append(jobs, job{s.ino, s.path, s.traced})
	}
	w.mu.Unlock()
	for _, j := range jobs {
		states := uint32(statesOpen)
		if !j.traced {
			states |= statesPast
		}
		r := reading{space: j.ino, states: states, max: 4 * w.cfg.MaxConnections}
		err := r.read(j.path)
		w.mu.Lock()
		if w.n.lists++; err != nil {
			w.n.failed++
			w.log.Debug("sockets not listed", "netns", j.path, "error", err)
		} else if s := w.spaces[j.ino]; s != nil {
			w.merge(s, &r)
		}
		w.mu.Unlock()
	}
}

// reading is one listing of a namespace.
type reading struct {
	space, states uint32
	max           int
	sockets       []socket
	listeners     map[listener]uint32 // to inodes, then to processes
	opens         uint64
	own           map[packet.Addr]bool
	buf           []byte
}

// read lists the sockets of the namespace at path and finds the processes of those that listen.
func (r *reading) read(path string) error {
	r.listeners = map[listener]uint32{}
	r.buf = make([]byte, 128<<10)
	err := netns.Do(path, func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
		if err != nil {
			return fmt.Errorf("open socket: %w", err)
		}
		defer unix.Close(fd)
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2})
		for _, q := range []struct {
			proto  uint8
			states uint32
		}{{packet.ProtoTCP, 1<<listening | r.states}, {packet.ProtoUDP, 1<<closed | 1<<established}} {
			for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
				if err := r.request(fd, family, q.proto, q.states); err != nil {
					return fmt.Errorf("inet_diag: %w", err)
				}
			}
		}
		r.opens, r.own = openedInAll(), ownAddresses()
		return nil
	})
	return err
}

// ownAddresses are the addresses of the thread's namespace, but for loopback.
func ownAddresses() map[packet.Addr]bool {
	own := map[packet.Addr]bool{}
	list, _ := net.InterfaceAddrs()
	for _, x := range list {
		if p, err := netip.ParsePrefix(x.String()); err == nil && !p.Addr().IsLoopback() {
			own[packet.AddrFrom(p.Addr().Unmap())] = true
		}
	}
	return own
}

// request requests the sockets of one family and protocol, in one buffer.
func (r *reading) request(fd int, family, proto uint8, states uint32) error {
	var req [unix.SizeofNlMsghdr + diagRequest]byte
	ne := binary.NativeEndian
	ne.PutUint32(req[0:], uint32(len(req)))
	ne.PutUint16(req[4:], unix.SOCK_DIAG_BY_FAMILY)
	ne.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := req[unix.SizeofNlMsghdr:]
	body[0], body[1], body[2] = family, proto, 1<<(diagInfo-1)
	ne.PutUint32(body[4:], states)
	if err := unix.Sendto(fd, req[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for {
		n, _, err := unix.Recvfrom(fd, r.buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		for b := r.buf[:n]; len(b) >= unix.SizeofNlMsghdr; {
			length := int(ne.Uint32(b))
			if length < unix.SizeofNlMsghdr || length > len(b) {
				return unix.EBADMSG
			}
			switch ne.Uint16(b[4:]) {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				if length >= unix.SizeofNlMsghdr+4 {
					return unix.Errno(-int32(ne.Uint32(b[unix.SizeofNlMsghdr:])))
				}
				return unix.EBADMSG
			}
			r.addMessage(b[unix.SizeofNlMsghdr:length], proto)
			b = b[min(len(b), (length+3)&^3):]
		}
	}
}

// addMessage adds one inet_diag_msg.
func (r *reading) addMessage(m []byte, proto uint8) {
	if len(m) < diagAnswer {
		return
	}
	s := socket{state: m[1], inode: binary.NativeEndian.Uint32(m[68:])}
	s.space, s.proto, s.ipv6 = r.space, proto, m[0] == unix.AF_INET6
	s.localPort, s.remotePort = binary.BigEndian.Uint16(m[4:]), binary.BigEndian.Uint16(m[6:])
	if s.state == listening || proto == packet.ProtoUDP && s.state == closed {
		r.listeners[listener{proto, s.localPort}] = s.inode
		return
	}
	if s.ipv6 {
		copy(s.local[:], m[8:24])
		copy(s.remote[:], m[24:40])
	} else {
		copy(s.local[12:], m[8:12])
		copy(s.remote[12:], m[24:28])
	}
	s.normal()
	for a := m[diagAnswer:]; len(a) >= 4; {
		n := int(binary.NativeEndian.Uint16(a))
		if n < 4 || n > len(a) {
			break
		}
		if binary.NativeEndian.Uint16(a[2:]) == diagInfo && n >= 4+infoLength {
			info := a[4:]
			out, in := uint64(binary.NativeEndian.Uint32(info[infoAcked+16:])), uint64(binary.NativeEndian.Uint32(info[infoAcked+20:]))
			s.now = totals{packets: [2]uint64{out, in}}
			s.now.bytes[0] = binary.NativeEndian.Uint64(info[infoAcked:]) + out*headers(s.ipv6)
			s.now.bytes[1] = binary.NativeEndian.Uint64(info[infoAcked+8:]) + in*headers(s.ipv6)
		}
		a = a[min(len(a), (n+3)&^3):]
	}
	if len(r.sockets) < r.max {
		r.sockets = append(r.sockets, s)
	}
}

// openedInAll returns the kernel's count of TCP connections in the thread's namespace, in both directions.
func openedInAll() uint64 {
	data, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		return 0
	}
	var names, values [][]byte
	for line := range bytes.Lines(data) {
		if f := bytes.Fields(line); len(f) > 0 && string(f[0]) == "Tcp:" {
			names, values = values, f
		}
	}
	sum := uint64(0)
	for i, n := range names {
		if i < len(values) && (string(n) == "ActiveOpens" || string(n) == "PassiveOpens") {
			v, _ := strconv.ParseUint(string(values[i]), 10, 64)
			sum += v
		}
	}
	return sum
}
