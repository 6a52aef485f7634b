package lab

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
)

// Ports and the user of the sidecar, as meshes have them.
const (
	sidecarOut = 15001
	sidecarIn  = 15006
	sidecarUID = 1337
)

// SidecarConfig configures a sidecar; NetNS is required.
type SidecarConfig struct {
	NetNS string // path of the namespace
	// SharedUser leaves the proxy's sockets to the user of everything else; the rules know them by
	// a mark then. Otherwise they are of a user of their own.
	SharedUser bool
	// NoRules omits the redirects, which the caller places.
	NoRules bool
	// Mutual, where it is set, encrypts what goes to an address that Meshed names, and takes encrypted
	// connections as well as plain ones.
	Mutual *Mutual
	Meshed func(netip.Addr) bool
	// Route, where it is set, returns where what goes out really goes, as for a service of several servers.
	Route func(netip.AddrPort) netip.AddrPort
}

// Sidecar is a transparent proxy inside of one namespace: whatever connections come in or go out there
// over TCP are redirected to it, and it opens them again. The application gets them from 127.0.0.6 or ::6.
type Sidecar struct {
	cfg   SidecarConfig
	stops []func()
}

// StartSidecar puts a proxy into a namespace. On error nothing is left.
func StartSidecar(cfg SidecarConfig) (*Sidecar, error) {
	s := &Sidecar{cfg: cfg}
	for _, port := range []int{sidecarOut, sidecarIn} {
		for _, family := range []string{"tcp4", "tcp6"} {
			if err := s.listen(family, port); err != nil {
				return nil, errors.Join(err, s.Close())
			}
		}
	}
	if cfg.NoRules {
		return s, nil
	}
	if err := s.redirect(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.stops = append(s.stops, s.restore)
	return s, nil
}

// Close takes the redirects away and ends the proxy with its connections.
func (s *Sidecar) Close() error {
	for i := len(s.stops) - 1; i >= 0; i-- {
		s.stops[i]()
	}
	s.stops = nil
	return nil
}

// do runs fn inside the namespace; the files that it opens are the proxy's user's.
func (s *Sidecar) do(fn func() error) error {
	return netns.Do(s.cfg.NetNS, func() error {
		if s.cfg.SharedUser {
			return fn()
		}
		// Both are the thread's alone.
		if err := errors.Join(unix.Setfsgid(sidecarUID), unix.Setfsuid(sidecarUID)); err != nil {
			return fmt.Errorf("become user %d: %w", sidecarUID, err)
		}
		defer func() { _ = errors.Join(unix.Setfsuid(0), unix.Setfsgid(0)) }()
		return fn()
	})
}

func (s *Sidecar) listen(family string, port int) error {
	var ln net.Listener
	err := s.do(func() (err error) {
		ln, err = net.Listen(family, fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		return fmt.Errorf("sidecar: %w", err)
	}
	s.stops = append(s.stops, accept(ln, func(c net.Conn) error { return s.serve(c.(*net.TCPConn), family, port == sidecarIn) }))
	return nil
}

// stream is a connection of which one half can be closed.
type stream interface {
	net.Conn
	CloseWrite() error
}

// serve connects an accepted connection with where it was bound for.
func (s *Sidecar) serve(c *net.TCPConn, family string, in bool) error {
	to, err := original(c, family)
	if err != nil {
		return err
	}
	var down stream = c
	if in && s.cfg.Mutual != nil {
		if down, err = s.cfg.Mutual.accept(c); err != nil {
			return err
		}
	}
	if !in && s.cfg.Route != nil {
		to = s.cfg.Route(to)
	}
	up, err := s.dial(family, to, in)
	if err != nil {
		_ = c.SetLinger(0) // notify the client by a reset
		return err
	}
	defer up.Close()
	done := make(chan struct{}, 2)
	for _, way := range [][2]stream{{down, up}, {up, down}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].CloseWrite()
			done <- struct{}{}
		}()
	}
	<-done
	_ = c.SetReadDeadline(time.Now().Add(opTimeout))
	_ = up.SetReadDeadline(time.Now().Add(opTimeout))
	<-done
	return nil
}

// dial opens a connection to where another was bound for.
func (s *Sidecar) dial(family string, to netip.AddrPort, in bool) (stream, error) {
	d := net.Dialer{Timeout: opTimeout, FallbackDelay: -1}
	if s.cfg.SharedUser {
		d.Control = func(_, _ string, raw syscall.RawConn) (err error) {
			cerr := raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, sidecarUID)
			})
			return errors.Join(err, cerr)
		}
	}
	if in {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 6)}
		if family == "tcp6" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP("::6")}
		}
	}
	var up net.Conn
	err := s.do(func() (err error) {
		up, err = d.DialContext(context.Background(), family, to.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	tcp := up.(*net.TCPConn)
	if in || s.cfg.Mutual == nil || s.cfg.Meshed == nil || !s.cfg.Meshed(to.Addr()) {
		return tcp, nil
	}
	t := tls.Client(tcp, s.cfg.Mutual.client())
	_ = t.SetDeadline(time.Now().Add(opTimeout))
	if err := t.Handshake(); err != nil {
		tcp.Close()
		return nil, err
	}
	_ = t.SetDeadline(time.Time{})
	return t, nil
}

// original is SO_ORIGINAL_DST of a redirected connection (linux/netfilter_ipv4.h, netfilter_ipv6/ip6_tables.h).
func original(c *net.TCPConn, family string) (netip.AddrPort, error) {
	const soOriginalDst = 80
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	var out netip.AddrPort
	var gerr error
	err = raw.Control(func(fd uintptr) {
		// A group request is the option of the library that is large enough for both addresses.
		if family == "tcp4" {
			var m *unix.IPv6Mreq
			if m, gerr = unix.GetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IP, soOriginalDst); gerr == nil {
				b := m.Multiaddr
				out = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:]))
			}
			return
		}
		var m *unix.IPv6MTUInfo
		if m, gerr = unix.GetsockoptIPv6MTUInfo(int(fd), unix.IPPROTO_IPV6, soOriginalDst); gerr == nil {
			port := binary.NativeEndian.AppendUint16(nil, m.Addr.Port)
			out = netip.AddrPortFrom(netip.AddrFrom16(m.Addr.Addr), binary.BigEndian.Uint16(port))
		}
	})
	return out, errors.Join(err, gerr)
}
