package nfqueue

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/netns"
)

// inet_diag (linux/inet_diag.h): the fixed parts of request and answer, and states of TCP sockets.
const (
	diagByFamily = 20
	diagRequest  = 56
	diagAnswer   = 72
	diagSport    = 4
	diagSrc      = 8
	diagDst      = 24

	openingSockets = 1<<unix.BPF_TCP_SYN_SENT | 1<<unix.BPF_TCP_SYN_RECV
	openSockets    = openingSockets | 1<<unix.BPF_TCP_ESTABLISHED
)

// connectedTo looks up the one TCP socket with a local end in some states in a namespace, and
// returns its remote end; false where there is none, or more than one.
func connectedTo(path string, local packet.Addr, port uint16, v6 bool, states uint32) (to packet.Addr, toPort uint16, ok bool) {
	found := 0
	families := []byte{unix.AF_INET, unix.AF_INET6} // applications may use IPv4 over IPv6 sockets
	if v6 {
		families = families[1:]
	}
	err := netns.Do(path, func() error {
		c, err := netlink.Dial(unix.NETLINK_INET_DIAG, nil)
		if err != nil {
			return fmt.Errorf("inet_diag: %w", err)
		}
		defer c.Close()
		for _, family := range families {
			req := make([]byte, diagRequest)
			req[0], req[1] = family, unix.IPPROTO_TCP
			binary.NativeEndian.PutUint32(req[4:], states)
			msgs, err := c.Execute(netlink.Message{Header: netlink.Header{Type: diagByFamily, Flags: netlink.Request | netlink.Dump}, Data: req})
			if err != nil {
				return fmt.Errorf("list sockets: %w", err)
			}
			for _, m := range msgs {
				src, sport, dst, dport, whole := ends(m.Data)
				if whole && src == local && sport == port {
					to, toPort = dst, dport
					found++
				}
			}
		}
		return nil
	})
	return to, toPort, err == nil && found == 1
}

// ends reads the ends of a listed socket.
func ends(b []byte) (src packet.Addr, sport uint16, dst packet.Addr, dport uint16, ok bool) {
	if len(b) < diagAnswer {
		return src, 0, dst, 0, false
	}
	read := func(at int) packet.Addr {
		if b[0] == unix.AF_INET {
			a := packet.Addr{10: 0xff, 11: 0xff}
			copy(a[12:], b[at:at+4])
			return a
		}
		return packet.Addr(b[at : at+16])
	}
	return read(diagSrc), binary.BigEndian.Uint16(b[diagSport:]), read(diagDst), binary.BigEndian.Uint16(b[diagSport+2:]), true
}
