package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
)

// Ports and the mark of the sidecar, as meshes have them.
const (
	sidecarOut  = 15001
	sidecarIn   = 15006
	sidecarMark = 1337
	natTable    = "lab-sidecar"
)

// Sidecar is a transparent proxy inside of one namespace: whatever connections come in or go out there
// over TCP are redirected to it, and it opens them anew. The application gets them from 127.0.0.6 or ::6.
type Sidecar struct {
	netns string
	stops []func()
}

// StartSidecar puts a proxy into the namespace at path. On error nothing is left.
func StartSidecar(path string) (*Sidecar, error) {
	s := &Sidecar{netns: path}
	for _, port := range []int{sidecarOut, sidecarIn} {
		for _, family := range []string{"tcp4", "tcp6"} {
			if err := s.listen(family, port); err != nil {
				return nil, errors.Join(err, s.Close())
			}
		}
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

func (s *Sidecar) listen(family string, port int) error {
	var ln net.Listener
	err := netns.Do(s.netns, func() (err error) {
		ln, err = net.Listen(family, fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		return fmt.Errorf("sidecar: %w", err)
	}
	s.stops = append(s.stops, accept(ln, func(c net.Conn) error { return s.serve(c, family, port == sidecarIn) }))
	return nil
}

// serve connects an accepted connection with where it was bound for.
func (s *Sidecar) serve(c net.Conn, family string, in bool) error {
	to, err := original(c.(*net.TCPConn), family)
	if err != nil {
		return err
	}
	d := net.Dialer{Timeout: opTimeout, FallbackDelay: -1, Control: func(_, _ string, raw syscall.RawConn) (err error) {
		cerr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, sidecarMark)
		})
		return errors.Join(err, cerr)
	}}
	if in {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 6)}
		if family == "tcp6" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP("::6")}
		}
	}
	var up net.Conn
	if err := netns.Do(s.netns, func() (err error) {
		up, err = d.DialContext(context.Background(), family, to.String())
		return err
	}); err != nil {
		_ = c.(*net.TCPConn).SetLinger(0) // tell the client by a reset
		return err
	}
	defer up.Close()
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{c, up}, {up, c}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].(*net.TCPConn).CloseWrite()
			done <- struct{}{}
		}()
	}
	<-done
	_ = c.SetReadDeadline(time.Now().Add(opTimeout))
	_ = up.SetReadDeadline(time.Now().Add(opTimeout))
	<-done
	return nil
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

// redirect places the rules, in a table for each family.
func (s *Sidecar) redirect() error {
	ns, err := netns.Open(s.netns)
	if err != nil {
		return err
	}
	defer ns.Close()
	err = netns.Do(s.netns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		six := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP("::6"), Mask: net.CIDRMask(128, 128)}, Flags: unix.IFA_F_NODAD}
		return netlink.AddrReplace(lo, six)
	})
	if err != nil {
		return fmt.Errorf("sidecar's address: %w", err)
	}
	c, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		return err
	}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6} {
		t := c.AddTable(&nftables.Table{Name: natTable, Family: family})
		chain := func(name string, hook *nftables.ChainHook, rules ...[]expr.Any) {
			ch := c.AddChain(&nftables.Chain{Name: name, Table: t, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: nftables.ChainPriorityNATDest})
			for _, r := range rules {
				c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: r})
			}
		}
		lo := append([]byte("lo"), make([]byte, 14)...)
		ret := &expr.Verdict{Kind: expr.VerdictReturn}
		chain("in", nftables.ChainHookPrerouting, append(is(expr.MetaKeyIIFNAME, lo), ret), redirectTo(sidecarIn))
		offset, own, self := uint32(16), []byte{127, 0, 0, 1}, uint32(4)
		if family == nftables.TableFamilyIPv6 {
			offset, own, self = 24, net.ParseIP("::1"), 16
		}
		chain("out", nftables.ChainHookOutput,
			append(is(expr.MetaKeyMARK, binaryutil.NativeEndian.PutUint32(sidecarMark)), ret),
			[]expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: self}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: own}, ret},
			redirectTo(sidecarOut))
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("sidecar's redirects: %w", err)
	}
	return nil
}

func is(key expr.MetaKey, value []byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value}}
}

func redirectTo(port uint16) []expr.Any {
	return append(is(expr.MetaKeyL4PROTO, []byte{unix.IPPROTO_TCP}),
		&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(port)}, &expr.Redir{RegisterProtoMin: 1, RegisterProtoMax: 1})
}

// restore takes the rules away.
func (s *Sidecar) restore() {
	ns, err := netns.Open(s.netns)
	if err != nil {
		return // the namespace is gone, and its rules with it
	}
	defer ns.Close()
	c, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		return
	}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6} {
		c.DelTable(&nftables.Table{Name: natTable, Family: family})
	}
	_ = c.Flush()
}
