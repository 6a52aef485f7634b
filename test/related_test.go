package test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// TestRelated: data of FTP and TFTP, and answers to questions to all, belong to what asked for them: in discover mode
// they teach no rule of their own, and in protect mode, by both backends, they pass while nothing else does.
func TestRelated(t *testing.T) {
	l := newLab(t)
	l.start()
	serveRelated(l)
	l.relatedWork("discover")
	l.askersLearned()
	for _, backend := range []string{"afpacket", "nfqueue"} {
		for _, w := range []string{"web", "api", "intruder"} {
			l.run("workloads", "backend", w, backend)
		}
		l.run("mode", "set", "all", "protect")
		l.relatedWork(backend)
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
		Reason string
		Port   int
		Attrs  map[string]string
	}](l.program, "connections", "--from", "web") {
		if c.Reason == "related" && c.Port == 0 && c.Attrs["related"] != "" {
			related++
		}
	}
	if related < 6 {
		t.Errorf("%d kinds of related connections:\n%s", related, l.run("connections"))
	}
}

// relatedWork does everything that has related connections.
func (l *lab) relatedWork(when string) {
	l.t.Helper()
	for _, family := range families {
		for _, active := range []bool{false, true} {
			if err := l.ftp(family, active); err != nil {
				l.t.Errorf("%s: ftp over %s, active %v: %v", when, family, active, err)
			}
		}
		if err := l.tftp(family); err != nil {
			l.t.Errorf("%s: tftp over %s: %v", when, family, err)
		}
	}
	for _, group := range groupsOf(l) {
		if err := l.ask(group); err != nil {
			l.t.Errorf("%s: question to %s: %v", when, group, err)
		}
	}
}

// askersLearned waits for the rules of what asks; there must be no others.
func (l *lab) askersLearned() {
	l.t.Helper()
	until(l.t, 20*time.Second, "rules for what asks", func() error {
		found := 0
		for _, r := range read[[]rule](l.program, "rules") {
			ports := strings.Join(r.Ports, ",")
			switch {
			case r.From == "svc:default/web" && r.To == "svc:default/api" && (ports == "tcp/21" || ports == "udp/69"),
				r.From == "svc:default/web" && r.To == "multicast" && ports == "udp/1900":
				found++
			default:
				l.t.Fatalf("rule %+v", r)
			}
		}
		if found != 3 {
			return fmt.Errorf("rules:\n%s", l.run("rules"))
		}
		return nil
	})
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
