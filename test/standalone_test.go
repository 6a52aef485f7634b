package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// The parts of the tools' JSON that are looked at.
type (
	connection struct {
		From, To, Proto, App, Verdict, Family string
		Port                                  int
		Sessions                              int
	}
	rule struct {
		ID                       int
		From, To, Action, Origin string
		Ports, Apps              []string
	}
	violation struct {
		From, To, Verdict, Family string
		Port, Count               int
	}
	why struct {
		Verdict, Text string
		Ends          []struct{ Workload, Mode, Note, Verdict string }
	}
)

// lab is three workloads on a bridge: web calls api over HTTP, intruder ought not to.
type lab struct {
	*program
	web, api, intruder *testnet.Workload
	host               *testnet.NS
	// long is a connection from the beginning, one for each family.
	long map[string]net.Conn
}

var families = []string{"tcp4", "tcp6"}

func newLab(t *testing.T) *lab {
	t.Helper()
	testnet.RequireRoot(t)
	b := testnet.New(t).Bridge("web", "api", "intruder")
	l := &lab{web: b.Workloads[0], api: b.Workloads[1], intruder: b.Workloads[2], host: b.Host, long: map[string]net.Conn{}}
	file := filepath.Join(t.TempDir(), "workloads.yaml")
	text := fmt.Sprintf("workloads:\n  - {name: web, netns: %s}\n  - {name: api, netns: %s}\n  - {name: intruder, netns: %s}\n", l.web.Name, l.api.Name, l.intruder.Name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l.program = newProgram(t, "--netns", strings.TrimSuffix(l.web.Name, "web")+"*", "--workloads", file)
	for _, family := range families {
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })}
		listener := l.api.Listen(family, l.api.Addr(family, 8080))
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { server.Close() })
		other := l.api.Listen(family, l.api.Addr(family, 9090))
		go echo(other)
	}
	return l
}

func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
	}
}

// get makes a request on a connection of its own.
func (l *lab) get(from *testnet.Workload, family string) error {
	return l.getIn(from, family, 2*time.Second)
}

// getIn is get with a limit for the answer.
func (l *lab) getIn(from *testnet.Workload, family string, limit time.Duration) error {
	c, err := from.TryDial(family, l.api.Addr(family, 8080), 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	return requestIn(c, limit)
}

// request makes one HTTP request on an open connection and leaves it open.
func request(c net.Conn) error { return requestIn(c, 2*time.Second) }

func requestIn(c net.Conn, limit time.Duration) error {
	_ = c.SetDeadline(time.Now().Add(limit))
	if _, err := io.WriteString(c, "GET /hello HTTP/1.1\r\nHost: api.test\r\n\r\n"); err != nil {
		return err
	}
	var got []byte
	for b := make([]byte, 512); !strings.HasSuffix(string(got), "hello"); {
		n, err := c.Read(b)
		if err != nil {
			return err
		}
		got = append(got, b[:n]...)
	}
	return nil
}

// works checks that what was learned continues: new connections and the old ones.
func (l *lab) works(when string) {
	l.t.Helper()
	for _, family := range families {
		if err := l.get(l.web, family); err != nil {
			l.t.Errorf("%s: web to api over %s: %v", when, family, err)
		}
		if err := request(l.long[family]); err != nil {
			l.t.Errorf("%s: the connection from before over %s: %v", when, family, err)
		}
	}
}

// refused makes sure that a connection is answered with a reset within a second.
func (l *lab) refused(when string, from *testnet.Workload, port int) {
	l.t.Helper()
	for _, family := range families {
		begin := time.Now()
		c, err := from.TryDial(family, l.api.Addr(family, port), 3*time.Second)
		if err == nil {
			c.Close()
		}
		if took := time.Since(begin); !errors.Is(err, syscall.ECONNREFUSED) || took > time.Second {
			l.t.Errorf("%s: %s to port %d over %s: %v after %s, want a reset within a second", when, from.Name, port, family, err, took)
		}
	}
}

// learned waits until both families' connections were identified and a rule made.
func (l *lab) learned() {
	l.t.Helper()
	for _, family := range families {
		l.long[family] = l.web.Dial(family, l.api.Addr(family, 8080))
	}
	l.works("discover")
	until(l.t, 5*time.Second, "both connections learned", func() error {
		seen := map[string]bool{}
		cs := read[[]connection](l.program, "connections", "--from", "web")
		for _, c := range cs {
			if c.To == "api" && c.Proto == "tcp" && c.Port == 8080 && c.App == "http" && c.Sessions > 0 {
				seen[c.Family] = true
			}
		}
		if !seen["ipv4"] || !seen["ipv6"] {
			return fmt.Errorf("connections %+v of\n%s", cs, l.run("connections"))
		}
		return nil
	})
	until(l.t, 5*time.Second, "a rule learned", func() error {
		rs := read[[]rule](l.program, "rules")
		if slices.ContainsFunc(rs, func(r rule) bool {
			return r.From == "svc:default/web" && r.To == "svc:default/api" && r.Action == "allow" && r.Origin == "learned" && slices.Contains(r.Apps, "http")
		}) {
			return nil
		}
		return fmt.Errorf("rules %+v", rs)
	})
}

func TestMainJob(t *testing.T) {
	l := newLab(t)
	before := l.links()
	d := l.start()
	until(t, 5*time.Second, "three workloads tapped", func() error {
		out := l.run("workloads")
		if strings.Count(out, " tap") != 3 {
			return errors.New(out)
		}
		return nil
	})
	l.learned()

	l.run("mode", "set", "web", "api", "protect")
	if out := l.run("workloads"); strings.Count(out, " inline") != 2 {
		t.Errorf("workloads after the switch:\n%s", out)
	}
	l.works("protect")
	l.refused("protect", l.web, 9090)
	l.refused("protect", l.intruder, 8080)
	l.works("after refusals")

	w := read[why](l.program, "why", "web", "api", "9090")
	if w.Verdict != "deny" || w.Text == "" || len(w.Ends) == 0 {
		t.Errorf("why web api 9090: %+v", w)
	}
	until(t, 3*time.Second, "violations shown", func() error {
		vs := read[[]violation](l.program, "violations")
		for _, family := range []string{"ipv4", "ipv6"} {
			if !slices.ContainsFunc(vs, func(v violation) bool {
				return v.From == "intruder" && v.To == "api" && v.Port == 8080 && v.Verdict == "deny" && v.Family == family
			}) {
				return fmt.Errorf("violations %+v", vs)
			}
		}
		return nil
	})

	out, err := exitOf(l.launch("--socket", l.socket()))
	if err == nil || !strings.Contains(out, "another sluice") {
		t.Errorf("second instance: %v, %s", err, out)
	}
	d.stop()
	l.works("after the end")
	if after := l.links(); !reflect.DeepEqual(after, before) {
		t.Errorf("links after the end %v, before %v", after, before)
	}
	if _, err := os.Stat(filepath.Dir(l.socket())); err == nil {
		t.Errorf("%s is there after the end", filepath.Dir(l.socket()))
	}
}

func TestRestart(t *testing.T) {
	l := newLab(t)
	d := l.start()
	l.learned()
	l.run("mode", "set", "web", "api", "protect")
	rules := read[[]rule](l.program, "rules")

	d.stop()
	d = l.start()
	if got := read[[]rule](l.program, "rules"); !reflect.DeepEqual(got, rules) {
		t.Errorf("rules after a restart %+v, before %+v", got, rules)
	}
	enforced := func() error {
		if out := l.run("workloads"); strings.Count(out, " inline") != 2 {
			return errors.New(out)
		}
		return nil
	}
	until(t, 5*time.Second, "protected again", enforced)
	l.works("restarted")
	l.refused("restarted", l.web, 9090)

	d.kill()
	l.works("killed")
	d = l.start()
	until(t, 5*time.Second, "protected after being killed", enforced)
	l.works("started after being killed")
	l.refused("started after being killed", l.intruder, 8080)
	d.stop()
	l.works("at the end")
}

// links lists what an agent could leave behind: interfaces and queueing disciplines.
func (l *lab) links() []string {
	l.t.Helper()
	own, err := linksHere()
	if err != nil {
		l.t.Fatal(err)
	}
	return append(own, linksOf(l.host, l.web.NS, l.api.NS, l.intruder.NS)...)
}

// linksOf is linksHere in each of the namespaces.
func linksOf(spaces ...*testnet.NS) (out []string) {
	for _, ns := range spaces {
		ns.Do(func() error {
			links, err := linksHere()
			out = append(out, links...)
			return err
		})
	}
	return out
}

// linksHere lists the interfaces and queueing disciplines of the thread's namespace.
func linksHere() (out []string, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	for _, k := range links {
		qs, err := netlink.QdiscList(k)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("%s mtu %d %s", k.Attrs().Name, k.Attrs().MTU, k.Attrs().Flags&net.FlagUp)
		for _, q := range qs {
			name += " " + q.Type()
		}
		out = append(out, name)
	}
	return out, nil
}

// exitOf waits for a daemon that is to end by itself and gives its output.
func exitOf(d *daemon) (string, error) {
	select {
	case err := <-d.done:
		d.done <- err
		return d.log.String(), err
	case <-time.After(10 * time.Second):
		_ = d.cmd.Process.Kill()
		return d.log.String(), nil
	}
}
