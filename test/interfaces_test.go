package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// portAnyAddress is that of a UDP server which is bound to no address, so that it answers from the one that the
// route to its client prefers. The next port has another one, which no client asks before protect.
const portAnyAddress = 7081

// twoNetworks is a lab of which only api is a workload, which has a second interface, eth1, on a network of its own: what comes in
// there is answered by eth0, which has the routes to the others.
type twoNetworks struct {
	*lab
	addr map[string]netip.Addr // of eth1, by family
	made map[string]int        // connections of web with eth1's port 8080, by family
}

// newTwoNetworks makes eth1 of a kind: veth; macvlan, which is steered in api's own namespace; or
// "same", a veth on the same network as eth0, so that either interface answers for both addresses.
func newTwoNetworks(t *testing.T, kind string) *twoNetworks {
	t.Helper()
	l := &twoNetworks{lab: newLab(t), addr: map[string]netip.Addr{}, made: map[string]int{}}
	file := filepath.Join(t.TempDir(), "only-api.yaml")
	write(t, file, fmt.Sprintf("workloads:\n  - {name: api, netns: %s}\n", l.api.Name))
	l.program = newProgram(t, "--netns", l.api.Name, "--workloads", file) // what the other ends see must not make up for it
	second := []string{"10.78.0.2/24", "fd78::2/64"}
	if kind == "same" {
		second = []string{"10.77.0.9/24", "fd77::9/64"}
	}
	for i, family := range families {
		l.addr[family] = netip.MustParsePrefix(second[i]).Addr()
	}
	l.host.Sysctl("net/ipv4/ip_forward", "1")
	l.host.Sysctl("net/ipv6/conf/all/forwarding", "1")
	ns, err := netns.Open(l.api.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	l.host.Do(func() error { return addSecond(kind, netlink.NsFd(int(ns.Fd()))) })
	l.api.Do(func() error { return addressed("eth1", second...) })
	for ns, confs := range map[*testnet.NS][]string{l.host: {"all", "default", "br0", "net1"}, l.api.NS: {"all", "default", "eth0", "eth1"}} {
		for _, conf := range confs {
			ns.Sysctl("net/ipv4/conf/"+conf+"/rp_filter", "0")
		}
	}
	l.web.Do(func() error {
		return errors.Join(route("10.78.0.0/24", "eth0", "10.77.0.254"), route("fd78::/64", "eth0", "fd77::fe"))
	})
	for _, family := range families {
		at := func(port int) string { return netip.AddrPortFrom(l.addr[family], uint16(port)).String() }
		listener := l.api.Listen(family, at(8080))
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })}
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { server.Close() })
		go echo(l.api.Listen(family, at(9090)))
		go echoDatagrams(l.api.ListenPacket(udp(family), at(portDatagram)))
		for _, port := range []int{portAnyAddress, portAnyAddress + 1} {
			go echoDatagrams(l.api.ListenPacket(udp(family), fmt.Sprintf(":%d", port)))
		}
	}
	return l
}

// addSecond adds net1 to the present namespace, with the other end of it as eth1 in api's.
func addSecond(kind string, api netlink.NsFd) error {
	var links []netlink.Link
	named := func(name string) netlink.LinkAttrs {
		la := netlink.NewLinkAttrs()
		la.Name = name
		return la
	}
	switch kind {
	case "veth", "same":
		links = []netlink.Link{&netlink.Veth{LinkAttrs: named("net1"), PeerName: "eth1", PeerNamespace: api}}
	case "macvlan":
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: named("below"), PeerName: "beside"}); err != nil {
			return err
		}
		below, err := netlink.LinkByName("below")
		if err != nil {
			return err
		}
		if err := errors.Join(addressed("below"), addressed("beside")); err != nil {
			return err
		}
		for _, name := range []string{"net1", "eth1"} {
			la := named(name)
			la.ParentIndex = below.Attrs().Index
			if name == "eth1" {
				la.Namespace = api
			}
			links = append(links, &netlink.Macvlan{LinkAttrs: la, Mode: netlink.MACVLAN_MODE_BRIDGE})
		}
	}
	for _, l := range links {
		if err := netlink.LinkAdd(l); err != nil {
			return fmt.Errorf("add %s %s: %w", kind, l.Attrs().Name, err)
		}
	}
	if kind != "same" {
		return addressed("net1", "10.78.0.254/24", "fd78::fe/64")
	}
	port, err := netlink.LinkByName("net1")
	if err != nil {
		return err
	}
	bridge, err := netlink.LinkByName("br0")
	if err != nil {
		return err
	}
	return errors.Join(addressed("net1"), netlink.LinkSetMasterByIndex(port, bridge.Attrs().Index))
}

// addressed brings an interface up with addresses that are usable at once.
func addressed(name string, prefixes ...string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	for _, text := range prefixes {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(link, a); err != nil {
			return fmt.Errorf("add %s: %w", text, err)
		}
	}
	return nil
}

// route adds a route, or replaces it. Without via it is on the link.
func route(to, name, via string) error {
	dst, err := netlink.ParseIPNet(to)
	if err != nil {
		return err
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	r := &netlink.Route{Dst: dst, LinkIndex: link.Attrs().Index}
	if r.Gw = net.ParseIP(via); via == "" {
		r.Scope = netlink.SCOPE_LINK
	}
	return netlink.RouteReplace(r)
}

// call makes one request to eth1's address, on a connection of its own.
func (l *twoNetworks) call(family string) error {
	c, err := l.web.TryDial(family, netip.AddrPortFrom(l.addr[family], 8080).String(), 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	l.made[family]++
	return request(c)
}

// continues makes requests on new connections and the old ones, and asks by datagrams.
func (l *twoNetworks) continues(when string, open map[string]net.Conn) {
	l.t.Helper()
	for _, family := range families {
		if err := l.call(family); err != nil {
			l.t.Errorf("%s: over %s: %v", when, family, err)
		}
		if err := request(open[family]); err != nil {
			l.t.Errorf("%s: the connection from before over %s: %v", when, family, err)
		}
		u := open[udp(family)]
		_ = u.SetDeadline(time.Now().Add(5 * time.Second))
		text, b := "datagram "+when, make([]byte, 100)
		if _, err := io.WriteString(u, text); err != nil {
			l.t.Errorf("%s: over %s: %v", when, udp(family), err)
		} else if n, err := u.Read(b); err != nil || string(b[:n]) != text {
			l.t.Errorf("%s: over %s: %q, %v", when, udp(family), b[:n], err)
		}
	}
}

// elsewhere asks eth1's address at a port of a server that is bound to none, and returns the addresses of its answers.
func (l *twoNetworks) elsewhere(family string, port int, patience time.Duration) (from netip.Addr, err error) {
	c := l.web.ListenPacket(udp(family), ":0")
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.WriteTo([]byte("who are you?"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.addr[family], uint16(port)))); err != nil {
		return from, err
	}
	_, who, err := c.ReadFrom(make([]byte, 100))
	if err != nil {
		return from, err
	}
	return who.(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// answeredElsewhere makes sure that the answers of a server come, from one of api's addresses.
func (l *twoNetworks) answeredElsewhere(when string) (others int) {
	l.t.Helper()
	for _, family := range families {
		own := map[string]netip.Addr{"tcp4": l.api.IPv4, "tcp6": l.api.IPv6}[family]
		from, err := l.elsewhere(family, portAnyAddress, 5*time.Second)
		switch {
		case err != nil || from != own && from != l.addr[family]:
			l.t.Errorf("%s: a server that is bound to no address, over %s: from %s, %v", when, udp(family), from, err)
		case from == own:
			others++
		}
	}
	return others
}

// refusedAt makes sure that nothing of what is not allowed is answered by eth1's address.
func (l *twoNetworks) refusedAt(when string, port int) {
	l.t.Helper()
	for _, family := range families {
		if from, err := l.elsewhere(family, portAnyAddress+1, 300*time.Millisecond); err == nil {
			l.t.Errorf("%s: to another port over %s: an answer from %s", when, udp(family), from)
		}
		c, err := l.web.TryDial(family, netip.AddrPortFrom(l.addr[family], uint16(port)).String(), 3*time.Second)
		if err == nil {
			c.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			l.t.Errorf("%s: to port %d over %s: %v, want a reset", when, port, family, err)
		}
	}
}

// counted checks that nothing else is there, and that each connection with port 8080 is counted once, as http, in one row of
// each family.
func (l *twoNetworks) counted() error {
	got := map[string]connection{}
	for _, c := range read[[]connection](l.program, "connections") {
		if c.Port == portDatagram && c.To == "api" && c.Sessions == 1 || c.Port == portAnyAddress && c.To == "api" {
			continue
		}
		if c.To != "api" || c.Port != 8080 {
			if c.Port != 9090 && c.Port != portAnyAddress+1 {
				return fmt.Errorf("a row of something else: %+v", c)
			}
			continue
		}
		if other, ok := got[c.Family]; ok {
			return fmt.Errorf("two rows: %+v and %+v", other, c)
		}
		got[c.Family] = c
	}
	for family, name := range map[string]string{"tcp4": "ipv4", "tcp6": "ipv6"} {
		if c := got[name]; c.App != "http" || c.Sessions != l.made[family] {
			return fmt.Errorf("%+v, want %d sessions of http", c, l.made[family])
		}
	}
	return nil
}

// TestAsymmetricRoutes: requests come in by eth1 and answers leave by eth0. They are learned, counted
// once, and continue in protect and when the answers' route moves, in either order and by each datapath;
// what is not allowed is refused on either interface.
func TestAsymmetricRoutes(t *testing.T) {
	for _, c := range []struct{ name, kind, choice, first, second string }{
		{"steered", "veth", "auto", "inline", "inline"},
		{"queues", "veth", "nfqueue", "nfqueue", "nfqueue"},
		{"steered in two namespaces", "macvlan", "auto", "inline", "inline"},
		{"on one network", "same", "auto", "inline", "inline"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newTwoNetworks(t, c.kind)
			l.start()
			open := map[string]net.Conn{}
			for _, family := range families {
				open[family] = l.web.Dial(family, netip.AddrPortFrom(l.addr[family], 8080).String())
				l.made[family]++
				open[udp(family)] = l.web.Dial(udp(family), netip.AddrPortFrom(l.addr[family], portDatagram).String())
			}
			l.continues("discover", open)
			if n := l.answeredElsewhere("discover"); n == 0 {
				t.Error("every answer is from the address that was asked: nothing is tested")
			}
			until(t, 20*time.Second, "the connections are counted", l.counted)
			until(t, 20*time.Second, "the rules are learned", func() error {
				out := l.run("rules")
				if !strings.Contains(out, "8080") || !strings.Contains(out, fmt.Sprint(portDatagram)) || !strings.Contains(out, fmt.Sprint(portAnyAddress)) {
					return errors.New(out)
				}
				return nil
			})
			l.run("workloads", "backend", "api", c.choice)
			l.run("mode", "set", "api", "protect")
			for name, want := range map[string]string{"eth0": c.first, "eth1": c.second} {
				if got, note := l.backendOf("api", name); got != want {
					t.Errorf("%s is attached by %s: %s", name, got, note)
				}
			}
			l.continues("protect", open)
			l.answeredElsewhere("protect")
			l.refusedAt("protect", 9090)
			via := [2]string{"10.78.0.254", "fd78::fe"}
			if c.kind == "same" {
				via = [2]string{}
			}
			l.api.Do(func() error {
				return errors.Join(route("10.77.0.1/32", "eth1", via[0]), route("fd77::1/128", "eth1", via[1]))
			})
			l.continues("after the answers have moved to eth1", open)
			l.answeredElsewhere("after the answers have moved to eth1")
			l.refusedAt("after the answers have moved to eth1", 9090)
			l.run("mode", "set", "api", "monitor")
			l.continues("monitor", open)
			l.answeredElsewhere("monitor")
			l.run("mode", "set", "api", "protect")
			l.continues("protect again", open)
			l.answeredElsewhere("protect again")
			until(t, 20*time.Second, "the connections are counted", l.counted)
			for _, v := range read[[]violation](l.program, "violations") {
				if v.Port != 9090 && v.Port != portAnyAddress+1 {
					t.Errorf("violation %+v", v)
				}
			}
		})
	}
}
