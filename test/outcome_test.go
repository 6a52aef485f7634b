package test

import (
	endian "encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// outcome is a row of connections, as far as its outcome is concerned.
type outcome struct {
	From, To, Verdict, Outcome, Family string
	Port, Sessions                     int
	Outcomes                           map[string]int
	ClientEnd                          *endVerdict `json:"client_end"`
	ServerEnd                          *endVerdict `json:"server_end"`
}

type endVerdict struct{ Workload, Verdict string }

// refusal is a row of violations.
type refusal struct {
	From, To, Verdict, Reason, Outcome, Family string
	Port, Count                                int
}

// Ports of the service that is down, and of the one whose queue is full.
const (
	portDown = 9999
	portFull = 9191
)

// familyName is the family of a network as the tools show it.
func familyName(network string) string { return "ipv" + network[len(network)-1:] }

// outcomes adds up the sessions of web with a port of api by outcome.
func (l *lab) outcomes(network string, port int) map[string]int {
	l.t.Helper()
	sum := map[string]int{}
	for _, c := range read[[]outcome](l.program, "connections", "--from", "web", "--to", "api", "--port", fmt.Sprint("tcp/", port), "--family", familyName(network)) {
		if c.Sessions == 0 {
			l.t.Errorf("a row without a session: %+v", c)
		}
		for o, n := range c.Outcomes {
			sum[o] += n
		}
	}
	return sum
}

// quiet is an error where web has violations with a port of api.
func (l *lab) quiet(port int) error {
	if vs := read[[]refusal](l.program, "violations", "--from", "web", "--port", fmt.Sprint("tcp/", port)); len(vs) > 0 {
		return fmt.Errorf("violations %+v", vs)
	}
	return nil
}

// TestOutcomesAreNoVerdicts has, in all three modes and over both families, connections that policy
// allows and that come to nothing: to a service that is down, opened and closed without a byte, to a
// service whose queue is full, and a FIN of no connection. Each is what it became, and none is a
// violation.
func TestOutcomesAreNoVerdicts(t *testing.T) {
	l := newLab(t)
	l.start()
	for _, port := range []int{portDown, portFull, 9090} {
		l.run("rules", "add", "--from", "web", "--to", "api", "--ports", fmt.Sprint("tcp/", port))
	}
	l.run("rules", "add", "--from", "web", "--to", "api", "--ports", "tcp/8080", "--apps", "http")
	for _, network := range families {
		l.fillQueue(network)
	}
	for i, mode := range []string{"discover", "monitor", "protect"} {
		l.run("mode", "set", "web", "api", mode)
		for _, network := range families {
			l.comeToNothing(mode, network)
		}
		for _, network := range families {
			n := i + 1
			for _, want := range []struct {
				port     int
				outcomes []string // any of these
			}{{portDown, []string{"refused"}}, {8080, []string{"closed"}}, {portFull, []string{"opening", "unanswered"}}} {
				until(t, 5*time.Second, fmt.Sprintf("%s, %s, port %d: %d %v", mode, network, want.port, n, want.outcomes), func() error {
					got, sum := l.outcomes(network, want.port), 0
					for o, k := range got {
						if slices.Contains(want.outcomes, o) {
							sum += k
						}
					}
					if sum != n {
						return fmt.Errorf("outcomes %v of\n%s", got, l.run("connections"))
					}
					return nil
				})
			}
		}
		time.Sleep(time.Second) // for violations that should not be there
		for _, port := range []int{portDown, portFull, 8080, 9090} {
			if err := l.quiet(port); err != nil {
				t.Errorf("%s, port %d: %v", mode, port, err)
			}
		}
	}
}

// comeToNothing makes one of each connection.
func (l *lab) comeToNothing(mode, network string) {
	l.t.Helper()
	if _, err := l.web.TryDial(network, l.api.Addr(network, portDown), 3*time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		l.t.Errorf("%s: no process listens on port %d: %v", mode, portDown, err)
	}
	c := l.web.Dial(network, l.api.Addr(network, 8080))
	time.Sleep(300 * time.Millisecond)
	c.Close()
	if c, err := l.web.TryDial(network, l.api.Addr(network, portFull), 300*time.Millisecond); err == nil {
		c.Close()
		l.t.Errorf("%s: the queue of port %d is not full", mode, portFull)
	}
	l.web.Do(func() error {
		return sendFIN(netip.MustParseAddrPort(l.web.Addr(network, 50123)), netip.MustParseAddrPort(l.api.Addr(network, 9090)))
	})
}

// fillQueue listens on api with a queue of one connection, and fills it: Linux then drops each SYN.
func (l *lab) fillQueue(network string) {
	l.t.Helper()
	to := netip.MustParseAddrPort(l.api.Addr(network, portFull))
	fd := -1
	l.api.Do(func() (err error) {
		domain, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: portFull, Addr: [4]byte(to.Addr().AsSlice()[:4])})
		if to.Addr().Is6() {
			domain, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: portFull, Addr: to.Addr().As16()}
		}
		if fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(unix.Bind(fd, sa), unix.Listen(fd, 0))
	})
	l.t.Cleanup(func() { unix.Close(fd) })
	for range 2 { // by intruder: what web does is counted
		if c, err := l.intruder.TryDial(network, to.String(), 500*time.Millisecond); err == nil {
			l.t.Cleanup(func() { c.Close() })
		}
	}
}

// sendFIN sends a FIN that belongs to no connection, from a raw socket of the thread's namespace.
func sendFIN(from, to netip.AddrPort) error {
	h := make([]byte, 20)
	endian.BigEndian.PutUint16(h[0:], from.Port())
	endian.BigEndian.PutUint16(h[2:], to.Port())
	endian.BigEndian.PutUint32(h[4:], 1000)
	endian.BigEndian.PutUint32(h[8:], 2000)
	h[12], h[13] = 5<<4, 0x11 // FIN, ACK
	endian.BigEndian.PutUint16(h[14:], 1024)
	pseudo := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	pseudo = append(pseudo, 0, unix.IPPROTO_TCP, 0, byte(len(h)))
	sum := uint32(0)
	for b := append(pseudo, h...); len(b) > 1; b = b[2:] {
		sum += uint32(endian.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	endian.BigEndian.PutUint16(h[16:], ^uint16(sum))
	domain, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: [4]byte(to.Addr().AsSlice()[:4])})
	if to.Addr().Is6() {
		domain, sa = unix.AF_INET6, &unix.SockaddrInet6{Addr: to.Addr().As16()}
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, h, 0, sa)
}

// TestRefusedByPolicy has a connection that no rule allows, to a workload that is protected: one
// violation, with the end that refused, and a row that shows what both ends decided.
func TestRefusedByPolicy(t *testing.T) {
	l := newLab(t)
	l.start()
	l.run("mode", "set", "api", "protect")
	l.refused("protect", l.intruder, 9090)
	for _, network := range families {
		family := familyName(network)
		until(t, 5*time.Second, "one violation over "+family, func() error {
			vs := read[[]refusal](l.program, "violations", "--from", "intruder", "--family", family)
			if want := (refusal{"intruder", "api", "deny", "default", "denied", family, 9090, 1}); len(vs) != 1 || vs[0] != want {
				return fmt.Errorf("violations %+v, want %+v", vs, want)
			}
			cs := read[[]outcome](l.program, "connections", "--from", "intruder", "--family", family)
			if len(cs) != 1 || cs[0].Sessions != 1 || cs[0].Verdict != "deny" || cs[0].Outcomes["denied"] != 1 {
				return fmt.Errorf("connections %+v, want one that was denied", cs)
			}
			if c := cs[0]; c.ClientEnd == nil || c.ServerEnd == nil || c.ClientEnd.Verdict != "learn" || c.ServerEnd.Verdict != "deny" {
				return fmt.Errorf("the ends decided %+v and %+v, want learn and deny", c.ClientEnd, c.ServerEnd)
			}
			return nil
		})
	}
	if out := l.run("connections", "--from", "intruder"); !strings.Contains(out, "learn → deny") {
		t.Errorf("the table does not show both verdicts:\n%s", out)
	}
	time.Sleep(time.Second)
	for _, v := range read[[]refusal](l.program, "violations") {
		if v.From != "intruder" || v.Count != 1 {
			t.Errorf("another violation: %+v", v)
		}
	}
}

// TestFiltersBeforeLimits has one violation of web and 250 newer ones of intruder: web's is found by
// every name that it has, and what nothing is called is refused.
func TestFiltersBeforeLimits(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.start()
	l.run("mode", "set", "api", "protect")
	dial := func(from *testnet.Workload, port int) {
		t.Helper()
		if c, err := from.TryDial("tcp4", l.api.Addr("tcp4", port), 3*time.Second); err == nil {
			c.Close()
			t.Fatalf("%s reaches port %d", from.Name, port)
		}
	}
	dial(l.web, 7777)
	until(t, 5*time.Second, "the violation of web", func() error {
		if vs := read[[]refusal](l.program, "violations", "--from", "web"); len(vs) != 1 {
			return fmt.Errorf("violations %+v", vs)
		}
		return nil
	})
	for i := range 250 {
		dial(l.intruder, 20_000+i)
	}
	until(t, 10*time.Second, "250 violations of intruder", func() error {
		if vs := read[[]refusal](l.program, "violations", "--from", "intruder", "--limit", "0"); len(vs) != 250 {
			return fmt.Errorf("%d violations", len(vs))
		}
		return nil
	})
	if vs := read[[]refusal](l.program, "violations"); len(vs) != 200 || vs[0].From != "intruder" {
		t.Errorf("%d violations without flags, want the newest 200", len(vs))
	}
	v4 := l.web.IPv4.String()
	for _, name := range []string{"web", "svc:default/web", "default/web", v4, v4 + "/32", "netns:" + l.web.Name} {
		if vs := read[[]refusal](l.program, "violations", "--from", name); len(vs) != 1 || vs[0].Port != 7777 {
			t.Errorf("--from %s: %+v, want the one to port 7777", name, vs)
		}
	}
	if vs := read[[]refusal](l.program, "violations", "--about", "api", "--port", "7777,tcp/20003", "--verdict", "deny", "--since", "10m"); len(vs) != 2 {
		t.Errorf("two ports: %+v", vs)
	}
	for _, line := range []string{"violations --from wep", "connections --to nosuch", "threats --about wep", "observe --from wep", "observe -f --about wep", "rules list --from wep"} {
		out, err := l.try(strings.Fields(line)...)
		if err == nil || out != "" || !strings.Contains(err.Error(), strings.Fields(line)[len(strings.Fields(line))-1]) {
			t.Errorf("%s: %q, %v; want an error that names it", line, out, err)
		}
	}
}
