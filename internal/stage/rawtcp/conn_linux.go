// Package rawtcp is a TCP client of its own for tests: it sends segments exactly as a test asks
// for, through a packet socket, from an address that the kernel of its namespace does not have.
package rawtcp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// Flags of segments.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// Segment is what a test sets of a segment; the rest is the connection's.
type Segment struct {
	Flags    uint8
	Seq, Ack int // relative to the connection's present numbers
	Data     []byte
	Options  []byte // a multiple of four bytes
	Urgent   uint16
	// BadSum and BadIPSum make the checksums of TCP and of the IPv4 header wrong.
	BadSum, BadIPSum bool
	// Strange adds an IPv6 destination option that receivers must discard the packet for (RFC 8200
	// 4.2), or to IPv4 an option with a wrong length (RFC 1122 3.2.1.8).
	Strange bool
}

// Conn is one connection.
type Conn struct {
	Seq, Ack     uint32 // its next byte, and the server's
	ServerTime   uint32 // the last TSval of the server
	Reset        bool   // the server has reset it
	Got          []byte // what the server sent
	fd           int
	from, to     netip.Addr
	fromM, toM   [6]byte
	sport, dport uint16
}

// Open opens a packet socket in a workload's namespace. from is not an address of that
// namespace; Neighbour makes the server find it.
func Open(w *testnet.Workload, server *testnet.Workload, from netip.Addr, sport, dport uint16) (*Conn, error) {
	c := &Conn{from: from, fromM: w.MAC, toM: server.MAC, sport: sport, dport: dport, to: server.IPv4, Seq: 0x10203040 + uint32(sport)}
	if from.Is6() {
		c.to = server.IPv6
	}
	err := netns.Do(w.Path, func() (err error) {
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL))); err != nil {
			return err
		}
		return unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: w.Index})
	})
	return c, err
}

// Close closes the socket; the connection is not reset.
func (c *Conn) Close() error { return unix.Close(c.fd) }

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// Send sends a segment.
func (c *Conn) Send(s Segment) error {
	_, err := unix.Write(c.fd, c.frame(s))
	return err
}

func (c *Conn) frame(s Segment) []byte {
	t := make([]byte, 20, 20+len(s.Options)+len(s.Data))
	binary.BigEndian.PutUint16(t[0:], c.sport)
	binary.BigEndian.PutUint16(t[2:], c.dport)
	binary.BigEndian.PutUint32(t[4:], c.Seq+uint32(s.Seq))
	if s.Flags&ACK != 0 {
		binary.BigEndian.PutUint32(t[8:], c.Ack+uint32(s.Ack))
	}
	t[12], t[13] = uint8(5+len(s.Options)/4)<<4, s.Flags
	binary.BigEndian.PutUint16(t[14:], 65000)
	binary.BigEndian.PutUint16(t[18:], s.Urgent)
	t = append(append(t, s.Options...), s.Data...)
	src, dst := c.from.AsSlice(), c.to.AsSlice()
	pseudo := append(append([]byte{}, src...), dst...)
	pseudo = append(pseudo, 0, 6, byte(len(t)>>8), byte(len(t)))
	sum := checksum(append(pseudo, t...))
	if s.BadSum {
		sum ^= 0x1234
	}
	binary.BigEndian.PutUint16(t[16:], sum)
	b := append(append([]byte{}, c.toM[:]...), c.fromM[:]...)
	if c.from.Is6() {
		return append(b, ipv6(src, dst, t, s.Strange)...)
	}
	return append(b, ipv4(src, dst, t, &s)...)
}

func ipv4(src, dst, t []byte, s *Segment) []byte {
	var options []byte
	if s.Strange {
		options = []byte{7, 200, 4, 0} // a record of the route that is longer than the header
	}
	n := 20 + len(options)
	h := append(make([]byte, 20), options...)
	h[0], h[6], h[8], h[9] = 0x40|byte(n/4), 0x40, 64, 6
	binary.BigEndian.PutUint16(h[2:], uint16(n+len(t)))
	copy(h[12:], src)
	copy(h[16:], dst)
	sum := checksum(h)
	if s.BadIPSum {
		sum ^= 0x1234
	}
	binary.BigEndian.PutUint16(h[10:], sum)
	return append(append([]byte{8, 0}, h...), t...)
}

func ipv6(src, dst, t []byte, strange bool) []byte {
	h := make([]byte, 40)
	h[0], h[6], h[7] = 0x60, 6, 64
	if strange {
		h[6] = 60
		t = append([]byte{6, 0, 0x5e, 4, 0, 0, 0, 0}, t...) // 01: discard
	}
	binary.BigEndian.PutUint16(h[4:], uint16(len(t)))
	copy(h[8:], src)
	copy(h[24:], dst)
	return append(append([]byte{0x86, 0xdd}, h...), t...)
}

func checksum(b []byte) uint16 {
	var s uint32
	for i, x := range b {
		s += uint32(x) << (8 * (1 - i&1))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

var errNoAnswer = errors.New("no answer to the SYN")

// Handshake sends a SYN, with data and options if any, and the ACK of its answer.
func (c *Conn) Handshake(syn Segment) error {
	syn.Flags = SYN
	if err := c.Send(syn); err != nil {
		return err
	}
	opened := false
	c.receive(3*time.Second, func(t []byte) bool {
		if t[13]&(SYN|ACK) != SYN|ACK {
			return false
		}
		c.Ack, c.Seq, opened = binary.BigEndian.Uint32(t[4:])+1, binary.BigEndian.Uint32(t[8:]), true
		return true
	})
	if !opened {
		return errNoAnswer
	}
	return c.Send(Segment{Flags: ACK, Options: c.timeOf(syn.Options, 0)})
}

// timeOf returns a timestamps option with a TSval that is add after the SYN's, if the SYN had one.
func (c *Conn) timeOf(syn []byte, add uint32) []byte {
	if len(syn) < 12 || syn[2] != 8 {
		return nil
	}
	return Times(binary.BigEndian.Uint32(syn[4:])+add, c.ServerTime)
}

// Times is a timestamps option (RFC 7323).
func Times(value, echo uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte{1, 1, 8, 10}, value), echo)
}

// Receive reads what the server sends for some time.
func (c *Conn) Receive(d time.Duration) { c.receive(d, func([]byte) bool { return false }) }

func (c *Conn) receive(d time.Duration, done func(tcp []byte) bool) {
	var buf [65536]byte
	for end := time.Now().Add(d); ; {
		left := time.Until(end)
		if left <= 0 {
			return
		}
		tv := unix.NsecToTimeval(int64(left))
		_ = unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
		n, from, err := unix.Recvfrom(c.fd, buf[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if l, ok := from.(*unix.SockaddrLinklayer); err != nil || ok && l.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if t := c.mine(buf[:n]); t != nil && done(t) {
			return
		}
	}
}

// mine returns a frame's TCP segment if it is of this connection.
func (c *Conn) mine(b []byte) []byte {
	at, proto, total := 34, 23, 0
	if c.from.Is6() {
		at, proto = 54, 20
	}
	if len(b) < at+20 || b[proto] != 6 || binary.BigEndian.Uint16(b[at:]) != c.dport || binary.BigEndian.Uint16(b[at+2:]) != c.sport {
		return nil
	}
	if total = 14 + int(binary.BigEndian.Uint16(b[16:])); c.from.Is6() {
		total = 54 + int(binary.BigEndian.Uint16(b[18:]))
	}
	t := b[at:min(len(b), total)]
	head := min(int(t[12]>>4)*4, len(t))
	for o := t[20:head]; len(o) >= 10; o = o[1:] {
		if o[0] == 8 && o[1] == 10 {
			c.ServerTime = binary.BigEndian.Uint32(o[2:])
			break
		}
	}
	c.Reset = c.Reset || t[13]&RST != 0
	c.Got = append(c.Got, t[head:]...)
	return t
}

// Neighbour makes a workload find address a at another's MAC address.
func Neighbour(w *testnet.Workload, a netip.Addr, mac [6]byte) error {
	out, err := w.Command("ip", "neigh", "replace", a.String(), "lladdr", net.HardwareAddr(mac[:]).String(), "dev", w.Interface).CombinedOutput()
	if err != nil {
		return errors.New(string(out))
	}
	return nil
}
