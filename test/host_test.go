package test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// town is a namespace that plays the machine, in which the daemon runs with --host-network, a workload api
// on its bridge, and an outsider that is no workload.
type town struct {
	*program
	host          *testnet.NS
	api, outsider *testnet.Workload
	own           map[string]string // the machine's addresses, by family
}

// node is the name of the town's machine.
const node = "town"

func newTown(t *testing.T) *town {
	t.Helper()
	testnet.RequireRoot(t)
	b := testnet.New(t).Bridge("api", "outsider")
	w := &town{host: b.Host, api: b.Workloads[0], outsider: b.Workloads[1], own: map[string]string{"tcp4": b.IPv4.String(), "tcp6": b.IPv6.String()}}
	w.program = newProgram(t, "--netns", w.api.Name, "--host-network", "--node", node, "--parsers", "inprocess")
	for _, f := range families {
		start(t, w.api.NS, "serve "+f+" "+w.api.Addr(f, 7001))
		start(t, w.outsider.NS, "serve "+f+" "+w.outsider.Addr(f, 7002))
		start(t, w.host, "serve "+f+" "+net.JoinHostPort(w.own[f], "7003"))
	}
	start(t, w.api.NS, "serve udp4 "+w.api.Addr("udp4", 7004))
	start(t, w.host, "serve udp4 "+net.JoinHostPort(w.own["tcp4"], "7005"))
	w.open(w.api, w.outsider)
	return w
}

// open waits until every server answers.
func (w *town) open(api, outsider *testnet.Workload) {
	w.t.Helper()
	for _, f := range families {
		for _, x := range []struct{ from, to string }{{"host", api.Addr(f, 7001)}, {"host", outsider.Addr(f, 7002)}, {"api", net.JoinHostPort(w.own[f], "7003")}} {
			from := w.host
			if x.from == "api" {
				from = api.NS
			}
			until(w.t, 20*time.Second, x.to+" answers", func() error {
				c, err := from.TryDial(f, x.to, time.Second)
				if err == nil {
					c.Close()
				}
				return err
			})
		}
	}
}

// startInside starts the daemon in the machine's namespace, which is what it then takes for the host's.
func (w *town) startInside(more ...string) *daemon {
	w.t.Helper()
	args := append([]string{"--net=" + w.host.Path, binary, "standalone", "--data", w.dir + "/data", "--listen", ""}, w.args...)
	cmd := exec.Command("nsenter", append(args, more...)...)
	cmd.Env = w.command().Env
	d := w.spawn(cmd)
	until(w.t, 20*time.Second, "the daemon answers", func() error {
		if !strings.Contains(d.log.String(), "Try:") {
			return errors.New(d.log.String())
		}
		return nil
	})
	return d
}

// edge is a connection with whose it is.
type edge struct {
	connection
	Attrs map[string]string
}

// counted waits until there are just so many sessions to a port, and all of them between two ends by name.
func (w *town) counted(from, to string, port int, family string, sessions int) edge {
	w.t.Helper()
	var last edge
	until(w.t, 20*time.Second, fmt.Sprintf("%d sessions from %s to %s at port %d on %s", sessions, from, to, port, family), func() error {
		n := 0
		for _, e := range read[[]edge](w.program, "connections") {
			if e.Port != port || e.Family != family {
				continue
			}
			if e.From != from || e.To != to {
				return fmt.Errorf("one from %s to %s: %+v", e.From, e.To, e)
			}
			n += e.Sessions
			last = e
		}
		if n != sessions {
			return fmt.Errorf("%d in %+v", n, read[[]edge](w.program, "connections"))
		}
		return nil
	})
	return last
}

// TestHostNetwork watches the machine's own processes: their connections are counted once, by the names of both
// ends, learned, reported as violations, and never refused.
func TestHostNetwork(t *testing.T) {
	w := newTown(t)
	w.startInside()
	w.connect()
	w.learned()
	w.refusesNothing()
}

// connect makes connections of each kind and looks at how they are shown.
func (w *town) connect() {
	w.t.Helper()
	const times = 5
	for i, f := range families {
		family := []string{"ipv4", "ipv6"}[i]
		do(w.t, w.host, fmt.Sprintf("dial %s %s %d", f, w.api.Addr(f, 7001), times))
		do(w.t, w.host, fmt.Sprintf("dial %s %s %d", f, w.outsider.Addr(f, 7002), times))
		do(w.t, w.api.NS, fmt.Sprintf("dial %s %s %d", f, net.JoinHostPort(w.own[f], "7003"), times))
		e := w.counted(node, w.api.Name, 7001, family, times)
		if e.Attrs["process"] == "" || e.Attrs["pid"] == "" {
			w.t.Errorf("%s: attributes %v do not say whose it is", f, e.Attrs)
		}
		w.counted(node, netip.MustParseAddrPort(w.outsider.Addr(f, 0)).Addr().String(), 7002, family, times)
		if e := w.counted(w.api.Name, node, 7003, family, times); e.Attrs["process"] == "" {
			w.t.Errorf("%s: attributes %v do not name the server", f, e.Attrs)
		}
	}
	do(w.t, w.host, "mapped "+w.api.Addr("tcp4", 7001))
	w.counted(node, w.api.Name, 7001, "ipv4", times+1)

	// UDP sockets are listed every few seconds only; who lasts is named.
	server := w.api.Addr("udp4", 7004)
	c := w.host.Command(os.Args[0])
	c.Env = append(w.command().Env, roleVariable+"=ask udp4 "+server)
	in, err := c.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	defer func() { in.Close(); _ = c.Wait() }()
	w.counted(node, w.api.Name, 7004, "ipv4", 1)
	a := w.api.NS.Command(os.Args[0])
	a.Env = append(w.command().Env, roleVariable+"=ask udp4 "+net.JoinHostPort(w.own["tcp4"], "7005"))
	if out, err := a.CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	w.counted(w.api.Name, node, 7005, "ipv4", 1)
}

// learned waits for what is to be learned of it.
func (w *town) learned() {
	w.t.Helper()
	host, api := "svc:default/host", "svc:default/"+w.api.Name
	until(w.t, 10*time.Second, "rules", func() error {
		rs := read[[]rule](w.program, "rules")
		for _, want := range []rule{{From: host, To: api}, {From: "nodes", To: api}, {From: api, To: "nodes"}, {From: api, To: host}} {
			if !slices.ContainsFunc(rs, func(r rule) bool { return r.From == want.From && r.To == want.To && r.Origin == "learned" }) {
				return fmt.Errorf("none from %s to %s in %+v", want.From, want.To, rs)
			}
		}
		return nil
	})
}

// refusesNothing takes the rules of the machine away and looks at every mode.
func (w *town) refusesNothing() {
	w.t.Helper()
	const note = "watched, never refused: host network"
	for i, mode := range []string{"monitor", "protect"} {
		if out := w.run("mode", "set", "host", mode); !strings.Contains(out, note) {
			w.t.Errorf("mode set says %q, which is not that nothing is refused", out)
		}
		for _, r := range read[[]rule](w.program, "rules") {
			if r.From == "svc:default/host" {
				w.run("rules", "delete", fmt.Sprint(r.ID))
			}
		}
		for _, f := range families {
			do(w.t, w.host, fmt.Sprintf("dial %s %s 1", f, w.outsider.Addr(f, 7002)))
		}
		until(w.t, 10*time.Second, "violations in "+mode, func() error {
			n := 0
			for _, v := range read[[]violation](w.program, "violations") {
				if v.From == node && v.Port == 7002 && v.Verdict == "violate" {
					n += v.Count
				}
				if v.From == node && v.Verdict == "deny" {
					w.t.Errorf("refused: %+v", v)
				}
			}
			if n < 2*(i+1) {
				return fmt.Errorf("%d violations, want %d", n, 2*(i+1))
			}
			return nil
		})
	}
	y := read[why](w.program, "why", node, w.outsider.IPv4.String(), "7002")
	if y.Verdict != "violate" || len(y.Ends) != 1 || y.Ends[0].Note != note {
		w.t.Errorf("why says %+v", y)
	}
	for _, about := range []string{"workloads", "groups", "status"} {
		if out := w.run(about); !strings.Contains(out, note) {
			w.t.Errorf("%s does not show that nothing is refused:\n%s", about, out)
		}
	}
}
