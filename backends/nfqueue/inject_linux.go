package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/netns"
)

// injector sends the engine's own packets inside of a namespace: out through its routes, or
// over lo to its own sockets. They carry a mark that the rules pass. One goroutine uses it.
type injector struct {
	v4, v6 int
	sa4    unix.SockaddrInet4
	sa6    unix.SockaddrInet6
}

var errFrame = errors.New("not an IP packet")

// openInjector opens the raw sockets inside the namespace at path.
func openInjector(path string, mark uint32) (*injector, error) {
	i := &injector{v4: -1, v6: -1}
	err := netns.Do(path, func() (err error) {
		for _, s := range []struct {
			fd            *int
			family, level int
			hdrincl       int
		}{{&i.v4, unix.AF_INET, unix.IPPROTO_IP, unix.IP_HDRINCL}, {&i.v6, unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_HDRINCL}} {
			fd, err := unix.Socket(s.family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
			if errors.Is(err, unix.EAFNOSUPPORT) {
				continue // a kernel without IPv6
			}
			if err != nil {
				return err
			}
			*s.fd = fd
			if err := unix.SetsockoptInt(fd, s.level, s.hdrincl, 1); err != nil {
				return err
			}
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		i.close()
		return nil, fmt.Errorf("raw socket: %w", err)
	}
	return i, nil
}

// send sends a frame without the bytes before its IP header.
func (i *injector) send(f *packet.Frame, index int) error {
	p := f.Data
	if f.Link == packet.Ethernet {
		if p = ipOf(p); p == nil {
			return errFrame
		}
	}
	switch {
	case len(p) >= 20 && p[0]>>4 == 4 && i.v4 >= 0:
		copy(i.sa4.Addr[:], p[16:])
		return unix.Sendto(i.v4, p, 0, &i.sa4)
	case len(p) >= 40 && p[0]>>4 == 6 && i.v6 >= 0:
		copy(i.sa6.Addr[:], p[24:])
		i.sa6.ZoneId = 0
		if p[24] == 0xfe && p[25]&0xc0 == 0x80 {
			i.sa6.ZoneId = uint32(index)
		}
		return unix.Sendto(i.v6, p, 0, &i.sa6)
	}
	return errFrame
}

// ipOf skips an Ethernet header and its tags.
func ipOf(b []byte) []byte {
	for at := 12; at+2 <= len(b); at += 4 {
		switch binary.BigEndian.Uint16(b[at:]) {
		case 0x8100, 0x88a8:
			continue
		case 0x0800, 0x86dd:
			return b[at+2:]
		}
		break
	}
	return nil
}

func (i *injector) close() {
	for _, fd := range []int{i.v4, i.v6} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
