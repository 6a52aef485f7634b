package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// openConnection is what is read of a listed connection.
type openConnection struct {
	From, To, Evidence, Outcome string
	Port, Sessions              int
	PacketsOut                  int `json:"packets_out"`
	PacketsIn                   int `json:"packets_in"`
}

// idle are connections that web has opened to api and that carry nothing: both ends of each.
type idle struct {
	l    *lab
	ends map[string]net.Conn
}

// openIdle opens TCP connections to port 9091 and UDP sockets to port 9092, of both families, at
// both ends.
func openIdle(l *lab) *idle {
	i := &idle{l, map[string]net.Conn{}}
	for _, f := range []string{"4", "6"} {
		listener := l.api.Listen("tcp"+f, l.api.Addr("tcp"+f, 9091))
		accepted := make(chan net.Conn, 1) // the first; others are served
		go func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				select {
				case accepted <- c:
				default:
					go func() { _, _ = io.Copy(c, c); c.Close() }()
				}
			}
		}()
		i.ends["client of tcp"+f] = l.web.Dial("tcp"+f, l.api.Addr("tcp"+f, 9091))
		select {
		case i.ends["server of tcp"+f] = <-accepted:
		case <-time.After(patience):
			l.t.Fatal("nothing is accepted")
		}
		l.api.ListenPacket("udp"+f, l.api.Addr("udp"+f, 9092))
		i.ends["client of udp"+f] = l.web.Dial("udp"+f, l.api.Addr("udp"+f, 9092))
	}
	return i
}

// state is what an end of a connection experiences within a time: "open", "reset" or another error.
func state(c net.Conn, d time.Duration) string {
	_ = c.SetReadDeadline(time.Now().Add(d))
	_, err := c.Read(make([]byte, 1))
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "open"
	}
	return fmt.Sprint(err)
}

// are makes sure that all TCP ends are in a state within a time.
func (i *idle) are(when, want string, d time.Duration) {
	i.l.t.Helper()
	for name, c := range i.ends {
		if !strings.Contains(name, "tcp") {
			continue
		}
		if got := state(c, d); got != want {
			i.l.t.Errorf("%s: the %s is %s, want %s", when, name, got, want)
		}
	}
}

// known waits until the idle connections are listed, by their sockets.
func (i *idle) known() {
	i.l.t.Helper()
	until(i.l.t, patience, "idle connections are known", func() error {
		n := map[string]int{}
		for _, c := range read[[]openConnection](i.l.program, "connections") {
			if c.From == "web" && c.To == "api" && (c.Port == 9091 || c.Port == 9092) {
				n[fmt.Sprintf("%d %s %s, %d packets", c.Port, c.Evidence, c.Outcome, c.PacketsOut+c.PacketsIn)] += c.Sessions
			}
		}
		if len(n) != 2 || n["9091 socket established, 0 packets"] != 2 || n["9092 socket opening, 0 packets"] != 2 {
			return fmt.Errorf("got %v, want two of each", n)
		}
		return nil
	})
}

// TestIdleBeforeStart: connections that were open before Sluice started and carry nothing are listed,
// learned by port and direction, continue in protect, and their successors are allowed.
func TestIdleBeforeStart(t *testing.T) {
	l := newLab(t)
	i := openIdle(l)
	d := l.start()
	i.known()
	until(t, patience, "they are learned", func() error {
		for _, r := range read[[]rule](l.program, "rules") {
			if r.From == "svc:default/web" && r.To == "svc:default/api" && fmt.Sprint(r.Ports) == "[tcp/9091]" && r.Origin == "learned" {
				return nil
			}
		}
		return errors.New(l.run("rules"))
	})
	i.are("before the switch", "open", 400*time.Millisecond)
	out := l.run("mode", "set", "web", "api", "protect")
	if !strings.Contains(out, "refused 2 open connections") || strings.Contains(out, "9091") {
		t.Errorf("the switch reports:\n%s", out)
	}
	i.are("after the switch", "open", 500*time.Millisecond)
	for _, f := range []string{"4", "6"} {
		c, err := l.web.TryDial("tcp"+f, l.api.Addr("tcp"+f, 9091), 3*time.Second)
		if err != nil {
			t.Errorf("a new connection: %v", err)
			continue
		}
		c.Close()
	}
	d.stop()
}

// TestIdleIsRefusedAtSwitch: idle connections that no rule allows are reset at both ends when their group
// is switched to protect, by either datapath, after a restart too, and listed; with --open-at-switch keep
// they continue.
func TestIdleIsRefusedAtSwitch(t *testing.T) {
	for _, how := range []string{"inline", "nfqueue", "restart", "keep"} {
		t.Run(how, func(t *testing.T) {
			l := newLab(t)
			if how == "keep" {
				l.args = append(l.args, "--open-at-switch", "keep")
			}
			l.args = append(l.args, "--mode", "monitor")
			i := openIdle(l)
			d := l.start()
			i.known()
			if how == "nfqueue" {
				l.run("workloads", "backend", "web", "nfqueue")
				l.run("workloads", "backend", "api", "nfqueue")
			}
			i.are("before", "open", 400*time.Millisecond)
			if how == "restart" {
				d.stop()
				l.args = append(l.args, "--mode", "protect")
				d = l.start()
				l.run("mode", "set", "web", "api", "protect")
				i.are("after the restart", "reset", 3*time.Second)
				d.stop()
				return
			}
			out := l.run("mode", "set", "web", "api", "protect")
			want, verb := "reset", "refused 4"
			if how == "keep" {
				want, verb = "open", "kept 4"
			}
			if !strings.Contains(out, verb+" open connections that no rule allows") {
				t.Errorf("the switch reports:\n%s\nevents:\n%s", out, l.run("observe", "--limit", "50", "-o", "json"))
			}
			i.are("after the switch", want, 500*time.Millisecond)
			verdict := map[string]string{"reset": "deny", "open": "violate"}[want]
			if out := l.run("violations"); strings.Count(out, verdict) < 4 {
				t.Errorf("violations:\n%s", out)
			}
			d.stop()
		})
	}
}
