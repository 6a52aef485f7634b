package test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/netns"
)

// Ports of api's servers of datagrams, by the application that their rule names.
const (
	portOfDNS  = 5301
	portOfQUIC = 5302
)

// ear is a server of datagrams that was there before Sluice: it keeps what it gets, and answers.
type ear struct {
	net.PacketConn
	mu  sync.Mutex
	got []string // guarded by mu
}

func (e *ear) listen() {
	b := make([]byte, 2048)
	for {
		n, from, err := e.ReadFrom(b)
		if err != nil {
			return
		}
		e.mu.Lock()
		e.got = append(e.got, string(b[:n]))
		e.mu.Unlock()
		if n > 3 && b[2] == 1 { // a question of DNS
			b[2], b[3] = 0x81, 0x80
		}
		_, _ = e.WriteTo(b[:n], from)
	}
}

func (e *ear) heard(text string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.got {
		if strings.Contains(s, text) {
			return true
		}
	}
	return false
}

// mouth is a client's socket of datagrams.
type mouth struct {
	net.Conn
	name string
}

// mouths opens sockets of web to a port of api, in each way.
func (l *lab) mouths(family string, port int) (out []mouth) {
	l.t.Helper()
	to := udpAddr(l.api, udp(family), port)
	err := netns.Do(l.web.Path, func() error {
		c, err := net.DialUDP(udp(family), nil, to)
		if err != nil {
			return err
		}
		u, err := net.ListenUDP(udp(family), nil)
		out = []mouth{{c, "connected"}, {&unconnected{u, to}, "not connected"}}
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, m := range out {
		l.t.Cleanup(func() { m.Close() })
	}
	return out
}

// asks has a socket ask and returns an error unless it is answered.
func (m *mouth) asks(question string) (err error) {
	b := make([]byte, 2048)
	for range triesUDP {
		if _, err = m.Write([]byte(question)); err != nil {
			continue // an ICMP error of before
		}
		_ = m.SetReadDeadline(time.Now().Add(againUDP))
		var n int
		if n, err = m.Read(b); err == nil && n >= len(question) && bytes.HasSuffix(b[:n], []byte(question[4:])) {
			return nil
		}
	}
	return errors.Join(errors.New("no answer"), err)
}

// TestDatagramsAfterRestart: after a start, a switch and a restart, on another backend too, what is of no known
// application, or of another one, does not pass on the port of an application that is allowed: not from sockets that were
// open before, connected or not, nor from new ones, nor from the server to the client. Those that speak the application
// continue.
func TestDatagramsAfterRestart(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"inline", "nfqueue"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			datagramsAfterRestart(t, backend)
		})
	}
}

func datagramsAfterRestart(t *testing.T, backend string) {
	l := newLab(t)
	ears := map[string]*ear{}
	for _, f := range families {
		for _, port := range []int{portOfDNS, portOfQUIC} {
			e := &ear{PacketConn: l.api.ListenPacket(udp(f), l.api.Addr(udp(f), port))}
			ears[fmt.Sprint(f, port)] = e
			go e.listen()
		}
	}
	before := l.speakers()
	d := l.start()
	l.run("rules", "add", "--from", "web", "--to", "api", "--ports", fmt.Sprint("udp/", portOfDNS), "--apps", "dns")
	l.run("rules", "add", "--from", "web", "--to", "api", "--ports", fmt.Sprint("udp/", portOfQUIC), "--apps", "quic")
	l.run("mode", "set", "web", "api", "protect")
	enforced := func() error {
		if out := l.run("workloads"); strings.Count(out, " "+backend) < 2 {
			return errors.New(out)
		}
		return nil
	}
	if backend == "nfqueue" {
		l.run("workloads", "backend", "web", backend)
		l.run("workloads", "backend", "api", backend)
	}
	until(t, patience, "both protected", enforced)
	l.tryAll("the switch", before, ears)
	for how, end := range map[string]func(){"SIGTERM": func() { d.stop() }, "kill -9": func() { d.kill() }} {
		before = l.speakers()
		end()
		d = l.start()
		until(t, patience, "both protected after "+how, enforced)
		l.tryAll(how, before, ears)
	}
	d.stop()
}

// speaker is a socket of web's and its purpose.
type speaker struct {
	mouth
	family string
	port   int
	says   string // what it says, of forbidden
}

// forbidden is what is said: nothing that is known, and another application; "" is what the rule names.
var forbidden = map[string]string{"nothing known": "1 of no protocol: ", "syslog": "<34>1 2003-10-11T22:14:15.003Z host su - ID47 - ", "": ""}

// speakers opens sockets of web for every purpose.
func (l *lab) speakers() (out []speaker) {
	for _, f := range families {
		for _, port := range []int{portOfDNS, portOfQUIC} {
			for says := range forbidden {
				for _, m := range l.mouths(f, port) {
					out = append(out, speaker{m, f, port, says})
				}
			}
		}
	}
	return out
}

// tryAll has sockets from before, and new ones, announce what they are for, and the servers speak first to others.
func (l *lab) tryAll(when string, before []speaker, ears map[string]*ear) {
	l.t.Helper()
	all := append(before, l.speakers()...)
	name := func(i int) string {
		s := all[i]
		return fmt.Sprintf("%s: %s, port %d, new %v, %s, %q", when, s.family, s.port, i >= len(before), s.name, s.says)
	}
	token := func(i int) string { return fmt.Sprintf("%s of %d", when, i) }
	for i, s := range all {
		switch {
		case s.says != "" && i%3 == 0: // the server begins
			host, _, _ := net.SplitHostPort(l.web.Addr(udp(s.family), 0))
			to := &net.UDPAddr{IP: net.ParseIP(host), Port: s.LocalAddr().(*net.UDPAddr).Port}
			_, _ = ears[fmt.Sprint(s.family, s.port)].WriteTo([]byte(forbidden[s.says]+token(i)), to)
		case s.says != "":
			_, _ = s.Write([]byte(forbidden[s.says] + token(i)))
		case s.port == portOfDNS:
			if err := s.asks("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01"); err != nil {
				l.t.Errorf("%s: %v", name(i), err)
			}
		case i < len(before): // a new one would have to begin as QUIC does
			if err := s.asks("J a packet from the middle of a conversation"); err != nil {
				l.t.Errorf("%s: %v", name(i), err)
			}
		}
	}
	time.Sleep(200 * time.Millisecond)
	b := make([]byte, 2048)
	for i, s := range all {
		if s.says == "" {
			continue
		}
		if ears[fmt.Sprint(s.family, s.port)].heard(token(i)) {
			l.t.Errorf("%s: the server got it", name(i))
		}
		_ = s.SetReadDeadline(time.Now().Add(time.Millisecond))
		if n, err := s.Read(b); err == nil {
			l.t.Errorf("%s: the client got %q", name(i), b[:n])
		}
	}
}
