package test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// file is what is transferred.
var file = strings.Repeat("what is in the file\n", 3000)

// TestRelated: data of FTP and TFTP, and answers to questions to all, belong to what asked for them: in discover mode
// they teach no rule of their own, and in protect mode, by both backends, they pass while nothing else does.
func TestRelated(t *testing.T) {
	l := newLab(t)
	l.start()
	serveRelated(l)
	all := func(when string) {
		t.Helper()
		for _, family := range families {
			for _, active := range []bool{false, true} {
				if err := l.ftp(family, active); err != nil {
					t.Errorf("%s: ftp over %s, active %v: %v", when, family, active, err)
				}
			}
			if err := l.tftp(family); err != nil {
				t.Errorf("%s: tftp over %s: %v", when, family, err)
			}
		}
		for _, group := range groupsOf(l) {
			if err := l.ask(group); err != nil {
				t.Errorf("%s: question to %s: %v", when, group, err)
			}
		}
	}
	all("discover")
	until(t, 20*time.Second, "rules for what asks", func() error {
		found := 0
		for _, r := range read[[]rule](l.program, "rules") {
			ports := strings.Join(r.Ports, ",")
			switch {
			case r.From != "svc:default/web":
				return fmt.Errorf("rule %+v", r)
			case r.To == "svc:default/api" && (ports == "tcp/21" || ports == "udp/69"), r.To == "multicast" && ports == "udp/1900":
				found++
			default:
				t.Fatalf("rule %+v", r)
			}
		}
		if found != 3 {
			return fmt.Errorf("rules:\n%s", l.run("rules"))
		}
		return nil
	})
	for _, backend := range []string{"afpacket", "nfqueue"} {
		for _, w := range []string{"web", "api", "intruder"} {
			l.run("workloads", "backend", w, backend)
		}
		l.run("mode", "set", "all", "protect")
		all(backend)
		for _, v := range read[[]violation](l.program, "violations") {
			if v.Port != 9090 {
				t.Errorf("%s: violation %+v", backend, v)
			}
		}
		for _, family := range families {
			if c, err := l.web.TryDial(family, l.api.Addr(family, 9090), 2*time.Second); err == nil {
				c.Close()
				t.Errorf("%s: another port is open over %s", backend, family)
			}
		}
		l.run("mode", "set", "all", "discover")
	}
	related := 0
	for _, c := range read[[]struct {
		App, Reason string
		Port        int
		Attrs       map[string]string
	}](l.program, "connections", "--from", "web") {
		if c.Reason == "related" && c.Port == 0 && c.Attrs["related"] != "" {
			related++
		}
	}
	if related < 6 {
		t.Errorf("%d kinds of related connections:\n%s", related, l.run("connections"))
	}
}

// serveRelated starts the servers of api, and those of api and intruder that answer questions to all.
func serveRelated(l *lab) {
	for _, family := range families {
		control := l.api.Listen(family, l.api.Addr(family, 21))
		l.t.Cleanup(func() { control.Close() })
		go serveFTP(l.api.NS, family, control)
		requests := l.api.ListenPacket(udp(family), l.api.Addr(family, 69))
		l.t.Cleanup(func() { requests.Close() })
		go serveTFTP(l.api.NS, family, requests)
	}
	for _, w := range []*testnet.Workload{l.api, l.intruder} {
		for _, network := range []string{"udp4", "udp6"} {
			c := w.ListenPacket(network, map[string]string{"udp4": "0.0.0.0:1900", "udp6": "[::]:1900"}[network])
			join(l.t, w, c.(*net.UDPConn), network)
			l.t.Cleanup(func() { c.Close() })
			go func() {
				b := make([]byte, 100)
				for {
					_, from, err := c.ReadFrom(b)
					if err != nil {
						return
					}
					_, _ = c.WriteTo([]byte("here I am"), from)
				}
			}()
		}
	}
}

// The groups that are asked.
const (
	group4 = "239.255.255.250"
	group6 = "ff02::c"
)

// groupsOf returns the addresses of all that web asks.
func groupsOf(l *lab) []string {
	a := netip.MustParseAddrPort(l.web.Addr("tcp4", 1)).Addr().As4()
	a[3] = 255
	return []string{group4, netip.AddrFrom4(a).String(), group6}
}

// join makes a socket a member of the group.
func join(t *testing.T, w *testnet.Workload, c *net.UDPConn, network string) {
	t.Helper()
	index := 0
	w.Do(func() error {
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		index = i.Index
		return nil
	})
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	_ = raw.Control(func(fd uintptr) {
		if network == "udp6" {
			m := unix.IPv6Mreq{Multiaddr: netip.MustParseAddr(group6).As16(), Interface: uint32(index)}
			failed = unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &m)
			return
		}
		m := unix.IPMreqn{Multiaddr: netip.MustParseAddr(group4).As4(), Ifindex: int32(index)}
		failed = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &m)
	})
	if failed != nil {
		t.Fatal(failed)
	}
}

// ask asks all of a group, and wants two answers.
func (l *lab) ask(group string) error {
	to := netip.AddrPortFrom(netip.MustParseAddr(group), 1900)
	network := "udp4"
	if to.Addr().Is6() {
		network = "udp6"
	}
	own, _, err := net.SplitHostPort(l.web.Addr("tcp"+network[3:], 1))
	if err != nil {
		return err
	}
	c := l.web.ListenPacket(network, net.JoinHostPort(own, "0"))
	defer c.Close()
	u := c.(*net.UDPConn)
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	l.web.Do(func() error {
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		return raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
			if network == "udp6" {
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, i.Index)
			} else {
				_ = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(i.Index)})
			}
		})
	})
	b := make([]byte, 100)
	answers := map[netip.Addr]bool{}
	for range 3 {
		if _, err := u.WriteToUDPAddrPort([]byte("who is there?"), to); err != nil {
			return err
		}
		_ = u.SetReadDeadline(time.Now().Add(time.Second))
		for len(answers) < 2 {
			_, from, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				break
			}
			answers[from.Addr()] = true
		}
		if len(answers) == 2 {
			return nil
		}
	}
	return fmt.Errorf("%d answers, want 2", len(answers))
}

// ftp gets the file from api, over a data connection that either end opens.
func (l *lab) ftp(family string, active bool) error {
	c, err := l.web.TryDial(family, l.api.Addr(family, 21), 3*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	say := func(command string) (string, error) {
		if command != "" {
			if _, err := io.WriteString(c, command+"\r\n"); err != nil {
				return "", err
			}
		}
		return r.ReadString('\n')
	}
	for _, command := range []string{"", "USER anonymous", "PASS x", "TYPE I"} {
		if _, err := say(command); err != nil {
			return err
		}
	}
	data, err := l.dataOf(family, active, say)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(c, "RETR f\r\n"); err != nil {
		return err
	}
	d, err := data()
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	defer d.Close()
	_ = d.SetDeadline(time.Now().Add(10 * time.Second))
	if got, err := io.ReadAll(d); err != nil || string(got) != file {
		return fmt.Errorf("%d bytes, %w", len(got), errors.Join(err, errors.New("another file")))
	}
	return nil
}

// dataOf prepares a data connection, and returns what gives it.
func (l *lab) dataOf(family string, active bool, say func(string) (string, error)) (func() (net.Conn, error), error) {
	if !active {
		reply, err := say("EPSV")
		if err != nil {
			return nil, err
		}
		var port int
		if _, err := fmt.Sscanf(reply[strings.Index(reply, "("):], "(|||%d|)", &port); err != nil {
			return nil, fmt.Errorf("%q: %w", reply, err)
		}
		return func() (net.Conn, error) {
			return l.web.TryDial(family, l.api.Addr(family, port), 3*time.Second)
		}, nil
	}
	lis := l.web.Listen(family, l.web.Addr(family, 0))
	at := netip.MustParseAddrPort(lis.Addr().String())
	command := fmt.Sprintf("EPRT |2|%s|%d|", at.Addr(), at.Port())
	if a := at.Addr().Unmap(); a.Is4() {
		b := a.As4()
		command = fmt.Sprintf("PORT %d,%d,%d,%d,%d,%d", b[0], b[1], b[2], b[3], at.Port()>>8, at.Port()&255)
	}
	if _, err := say(command); err != nil {
		lis.Close()
		return nil, err
	}
	return func() (net.Conn, error) {
		defer lis.Close()
		if t, ok := lis.(*net.TCPListener); ok {
			_ = t.SetDeadline(time.Now().Add(3 * time.Second))
		}
		return lis.Accept()
	}, nil
}

// serveFTP serves the file.
func serveFTP(ns *testnet.NS, family string, control net.Listener) {
	for {
		c, err := control.Accept()
		if err != nil {
			return
		}
		go serveControl(ns, family, c)
	}
}

func serveControl(ns *testnet.NS, family string, c net.Conn) {
	defer c.Close()
	own, _, _ := net.SplitHostPort(c.LocalAddr().String())
	say := func(text string) { _, _ = io.WriteString(c, text+"\r\n") }
	var data func() (net.Conn, error)
	say("220 FTP ready")
	for r := bufio.NewScanner(c); r.Scan(); {
		verb, arg, _ := strings.Cut(r.Text(), " ")
		switch verb {
		case "USER":
			say("331 any password")
		case "PASS":
			say("230 in")
		case "EPSV":
			lis := ns.Listen(family, net.JoinHostPort(own, "0"))
			data = func() (net.Conn, error) { defer lis.Close(); return lis.Accept() }
			say(fmt.Sprintf("229 Entering (|||%d|)", lis.Addr().(*net.TCPAddr).Port))
		case "PORT", "EPRT":
			to := activeTarget(arg)
			data = func() (net.Conn, error) { return ns.TryDial(family, to, 3*time.Second) }
			say("200 ok")
		case "RETR":
			say("150 here it is")
			if d, err := data(); err == nil {
				_, _ = io.WriteString(d, file)
				d.Close()
			}
			say("226 done")
		default:
			say("200 ok")
		}
	}
}

// activeTarget reads the argument of PORT or EPRT.
func activeTarget(arg string) string {
	if strings.HasPrefix(arg, "|") {
		f := strings.Split(arg, "|")
		return net.JoinHostPort(f[2], f[3])
	}
	var b [6]int
	_, _ = fmt.Sscanf(arg, "%d,%d,%d,%d,%d,%d", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5])
	return fmt.Sprintf("%d.%d.%d.%d:%d", b[0], b[1], b[2], b[3], b[4]<<8|b[5])
}

// tftp reads a file of three blocks.
func (l *lab) tftp(family string) error {
	own, _, err := net.SplitHostPort(l.web.Addr(family, 1))
	if err != nil {
		return err
	}
	c := l.web.ListenPacket(udp(family), net.JoinHostPort(own, "0"))
	defer c.Close()
	server, err := net.ResolveUDPAddr(udp(family), l.api.Addr(family, 69))
	if err != nil {
		return err
	}
	if _, err := c.WriteTo([]byte("\x00\x01f\x00octet\x00"), server); err != nil {
		return err
	}
	b := make([]byte, 600)
	for block := uint16(1); ; block++ {
		_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return fmt.Errorf("block %d: %w", block, err)
		}
		if n < 4 || uint16(b[2])<<8|uint16(b[3]) != block {
			return fmt.Errorf("block %d: %x", block, b[:min(n, 8)])
		}
		if _, err := c.WriteTo([]byte{0, 4, b[2], b[3]}, from); err != nil {
			return err
		}
		if n < 516 {
			return nil
		}
	}
}

// serveTFTP answers each request from a port of its own.
func serveTFTP(ns *testnet.NS, family string, requests net.PacketConn) {
	b := make([]byte, 600)
	for {
		_, from, err := requests.ReadFrom(b)
		if err != nil {
			return
		}
		c, err := ns.TryDial(udp(family), from.String(), time.Second)
		if err != nil {
			return
		}
		for block := uint16(1); block <= 3; block++ {
			data := append([]byte{0, 3, 0, byte(block)}, make([]byte, 512)...)
			if block == 3 {
				data = data[:100]
			}
			_, _ = c.Write(data)
			_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
			if _, err := c.Read(b); err != nil {
				break
			}
		}
		c.Close()
	}
}
