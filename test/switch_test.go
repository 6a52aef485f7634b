package test

import (
	"bytes"
	"context"

	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicenet/sluice/internal/testnet"
)

// Ports of the traffic under which backends are exchanged.
const (
	portStream   = 7070 // TCP, allowed at any application
	portDatagram = 7071 // UDP, allowed
	portRefused  = 9090 // TCP: nothing allows it
	portSecret   = 9999 // UDP: nothing allows it
)

// traffic is what goes on while backends are exchanged. Each of its parts tells what went wrong.
type traffic struct {
	l      *lab
	ctx    context.Context
	wg     sync.WaitGroup
	rounds map[string]*atomic.Uint64 // what each part has done
	mu     sync.Mutex
	errs   []string
}

func (tr *traffic) failed(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.errs = append(tr.errs, fmt.Sprintf(format, args...))
}

// part runs one kind of traffic over both families.
func (tr *traffic) part(name string, run func(family string, done *atomic.Uint64) error) {
	for _, family := range families {
		key := name + " over " + family
		done := new(atomic.Uint64)
		tr.rounds[key] = done
		tr.wg.Go(func() {
			if err := run(family, done); err != nil {
				tr.failed("%s: %v", key, err)
			}
		})
	}
}

// newTraffic starts everything; end stops it.
func newTraffic(l *lab) (tr *traffic, end func()) {
	ctx, cancel := context.WithCancel(l.t.Context())
	tr = &traffic{l: l, ctx: ctx, rounds: map[string]*atomic.Uint64{}}
	for _, family := range families {
		go echo(l.api.Listen(family, l.api.Addr(family, portStream)))
		go echoDatagrams(l.api.ListenPacket(udp(family), l.api.Addr(family, portDatagram)))
	}
	tr.part("a stream", tr.stream)
	tr.part("datagrams", tr.datagrams)
	tr.part("the held connection", tr.held)
	tr.part("refused connections", tr.refused)
	tr.part("refused applications", tr.otherApp)
	tr.part("refused datagrams", tr.secret)
	return tr, func() { cancel(); tr.wg.Wait() }
}

func udp(family string) string { return "udp" + family[len(family)-1:] }

func echoDatagrams(c net.PacketConn) {
	b := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(b[:n], from)
	}
}

// patience is how long one answer may take on a machine that does a lot else.
const patience = 20 * time.Second

// stream sends blocks over one connection and compares what comes back.
func (tr *traffic) stream(family string, done *atomic.Uint64) error {
	c, err := tr.l.web.TryDial(family, tr.l.api.Addr(family, portStream), patience)
	if err != nil {
		return err
	}
	defer c.Close()
	block, back := bytes.Repeat([]byte("sixteen bytes..."), 2048), make([]byte, 32<<10)
	for i := uint64(0); tr.ctx.Err() == nil; i++ {
		putNumber(block, i)
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write(block); err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
		if _, err := io.ReadFull(c, back); err != nil {
			return fmt.Errorf("answer %d: %w", i, err)
		}
		if !bytes.Equal(block, back) {
			return fmt.Errorf("block %d came back as another", i)
		}
		done.Add(1)
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// datagrams sends numbers and wants each of them back: nothing is sent again here.
func (tr *traffic) datagrams(family string, done *atomic.Uint64) error {
	c, err := tr.l.web.TryDial(udp(family), tr.l.api.Addr(family, portDatagram), patience)
	if err != nil {
		return err
	}
	defer c.Close()
	missing := map[uint64]bool{}
	var mu sync.Mutex
	got := make(chan struct{})
	go func() {
		defer close(got)
		b := make([]byte, 2048)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			mu.Lock()
			delete(missing, number(b[:n]))
			mu.Unlock()
			done.Add(1)
		}
	}()
	b := make([]byte, 200)
	left := func() int { mu.Lock(); defer mu.Unlock(); return len(missing) }
	for i := uint64(0); tr.ctx.Err() == nil; i++ {
		putNumber(b, i)
		mu.Lock()
		missing[i] = true
		mu.Unlock()
		if _, err := c.Write(b); err != nil {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
	for end := time.Now().Add(patience); left() > 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	c.Close()
	<-got
	if n := left(); n > 0 {
		return fmt.Errorf("%d were lost", n)
	}
	return nil
}

// held makes a request now and then on the connection from before.
func (tr *traffic) held(family string, done *atomic.Uint64) error {
	for tr.ctx.Err() == nil {
		if err := request(tr.l.long[family]); err != nil {
			return err
		}
		done.Add(1)
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// refused tries what nothing allows all the time.
func (tr *traffic) refused(family string, done *atomic.Uint64) error {
	for tr.ctx.Err() == nil {
		c, err := tr.l.web.TryDial(family, tr.l.api.Addr(family, portRefused), patience)
		if err == nil {
			c.Close()
			return errors.New("a connection came about")
		}
		done.Add(1)
		time.Sleep(time.Millisecond)
	}
	return nil
}

// otherApp speaks SSH where HTTP alone is allowed: the server, which would answer, must not see it.
func (tr *traffic) otherApp(family string, done *atomic.Uint64) error {
	for tr.ctx.Err() == nil {
		c, err := tr.l.web.TryDial(family, tr.l.api.Addr(family, 8080), patience)
		if err != nil {
			return err
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err = io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n\r\n")
		var answer []byte
		if err == nil {
			answer, err = io.ReadAll(c)
		}
		c.Close()
		if err == nil || len(answer) > 0 {
			return fmt.Errorf("the server answered %q", answer)
		}
		done.Add(1)
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// secret sends datagrams that nothing allows.
func (tr *traffic) secret(family string, done *atomic.Uint64) error {
	c, err := tr.l.web.TryDial(udp(family), tr.l.api.Addr(family, portSecret), patience)
	if err != nil {
		return err
	}
	defer c.Close()
	for tr.ctx.Err() == nil {
		_, _ = c.Write([]byte("secret")) // the next one tells of an ICMP error, if one came
		done.Add(1)
		time.Sleep(time.Millisecond)
	}
	return nil
}

// goesOn waits until every part has done something more, and shows what failed.
func (tr *traffic) goesOn(when string) {
	tr.l.t.Helper()
	before := map[string]uint64{}
	for name, n := range tr.rounds {
		before[name] = n.Load()
	}
	until(tr.l.t, patience, when+": all traffic goes on", func() error {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		if len(tr.errs) > 0 {
			tr.l.t.Fatalf("%s: %s", when, strings.Join(tr.errs, "; "))
		}
		for name, n := range tr.rounds {
			if n.Load() < before[name]+3 {
				return fmt.Errorf("%s: %d rounds more", name, n.Load()-before[name])
			}
		}
		return nil
	})
}

// count has packets that must not arrive counted where they would.
func count(t *testing.T, w *testnet.Workload) (arrived func() string) {
	t.Helper()
	rules := fmt.Sprintf(`table inet watch {
	chain in {
		type filter hook prerouting priority -300
		tcp dport %d counter comment "refused connections"
		udp dport %d counter comment "refused datagrams"
	}
}
`, portRefused, portSecret)
	cmd := w.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("count packets: %v: %s", err, out)
	}
	return func() string {
		out, err := w.Command("nft", "list", "table", "inet", "watch").CombinedOutput()
		if err != nil {
			t.Fatalf("read counters: %v: %s", err, out)
		}
		var bad []string
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "counter") && !strings.Contains(line, "packets 0 ") {
				bad = append(bad, strings.TrimSpace(line))
			}
		}
		return strings.Join(bad, "; ")
	}
}

// switched waits until web is attached in a way, for a reason.
func (l *lab) switched(shown, reason string) {
	l.t.Helper()
	until(l.t, patience, "web is attached by "+shown+", "+reason, func() error {
		if got, note := l.backendOf("web", "eth0"); got != shown || !strings.Contains(note, reason) {
			return fmt.Errorf("by %s: %s", got, note)
		}
		return nil
	})
}

// relabel gives web a label in the workloads file, "" takes it away. The file is renamed over.
func (l *lab) relabel(value string) {
	l.t.Helper()
	file := l.args[slices.Index(l.args, "--workloads")+1]
	label := ""
	if value != "" {
		label = ", labels: {sluice.net/backend: " + value + "}"
	}
	text := fmt.Sprintf("workloads:\n  - {name: web, netns: %s%s}\n  - {name: api, netns: %s}\n  - {name: intruder, netns: %s}\n", l.web.Name, label, l.api.Name, l.intruder.Name)
	next := filepath.Join(filepath.Dir(file), ".next")
	write(l.t, next, text)
	if err := os.Rename(next, file); err != nil {
		l.t.Fatal(err)
	}
}

// TestSwitchBackends exchanges web's backend to and fro under traffic of all kinds: nothing breaks, is lost, is counted
// twice or gets through that may not, and at the end everything is as before.
func TestSwitchBackends(t *testing.T) {
	l := newLab(t)
	before := l.listings()
	d := l.start()
	l.learned()
	l.run("rules", "add", "--from", "web", "--to", "api", "--ports", fmt.Sprintf("tcp/%d,udp/%d", portStream, portDatagram))
	l.run("mode", "set", "web", "protect")
	arrived := count(t, l.api)
	tr, end := newTraffic(l)
	defer end()
	tr.goesOn("before")
	for i, how := range []struct{ choice, shown string }{{"nfqueue", "nfqueue"}, {"afpacket", "inline"}, {"nfqueue", "nfqueue"}, {"auto", "inline"}, {"nfqueue", "nfqueue"}, {"afpacket", "inline"}} {
		out := l.run("workloads", "backend", "web", how.choice)
		if !strings.Contains(out, how.shown) {
			t.Errorf("the answer to %s does not say %s:\n%s", how.choice, how.shown, out)
		}
		reason := "chosen by a command"
		if how.choice == "auto" {
			reason = "hooked on the host's end"
		}
		l.switched(how.shown, reason)
		tr.goesOn("switch " + strconv.Itoa(i+1) + ", to " + how.choice)
	}
	l.run("workloads", "backend", "web", "auto")
	for _, how := range []struct{ label, shown, reason string }{{"nfqueue", "nfqueue", "chosen by the label sluice.net/backend"}, {"afpacket", "inline", "chosen by the label"}, {"", "inline", "hooked on the host's end"}} {
		l.relabel(how.label)
		l.switched(how.shown, how.reason)
		tr.goesOn("label " + how.label)
	}
	end()
	if len(tr.errs) > 0 {
		t.Fatal(strings.Join(tr.errs, "; "))
	}
	if bad := arrived(); bad != "" {
		t.Errorf("got through: %s", bad)
	}
	l.once()
	must := l.api.Command("nft", "delete", "table", "inet", "watch")
	if out, err := must.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l.works("after the switches")
	d.stop()
	l.works("after the end")
	if diff := cmp.Diff(before, l.listings()); diff != "" {
		t.Errorf("the machine is not as it was (-before +after):\n%s", diff)
	}
}

// once makes sure that the streams of each family are one session, however often they moved.
func (l *lab) once() {
	l.t.Helper()
	for _, port := range []int{portStream, portDatagram} {
		until(l.t, patience, "the connections to port "+strconv.Itoa(port)+" are known", func() error {
			found := 0
			for _, c := range read[[]connection](l.program, "connections") {
				if c.From == "web" && c.To == "api" && c.Port == port {
					if found++; c.Sessions != 1 || c.Verdict != "allow" {
						return fmt.Errorf("%+v, want one session", c)
					}
				}
			}
			if found != len(families) {
				return fmt.Errorf("%d kinds, want one of each family: %s", found, l.run("connections"))
			}
			return nil
		})
	}
}

// unsettled is what changes by itself after interfaces were made: timers of a bridge, and states that the kernel tells a
// moment later.
var unsettled = regexp.MustCompile(`[a-z_]+_timer +[0-9.]+| state (UP|UNKNOWN)| tentative`)

// listings are what the tools of the machine show of interfaces, disciplines, programs, rules and namespaces.
func (l *lab) listings() (lines []string) {
	l.t.Helper()
	for _, ns := range []*testnet.NS{l.host, l.web.NS, l.api.NS, l.intruder.NS} {
		for _, line := range []string{"ip -d link", "ip address", "ip route", "ip -6 route", "ip neighbour show nud permanent", "tc qdisc", "bpftool net", "nft list ruleset"} {
			args := strings.Fields(line)
			out, err := ns.Command(args[0], args[1:]...).CombinedOutput()
			if err != nil && !errors.Is(err, os.ErrNotExist) && args[0] != "bpftool" {
				l.t.Fatalf("%s: %v: %s", line, err, out)
			}
			for shown := range strings.Lines(string(out)) {
				lines = append(lines, ns.Name+": "+line+": "+unsettled.ReplaceAllString(strings.TrimSpace(shown), ""))
			}
		}
	}
	return lines
}

// putNumber and number write and read the number that a packet begins with.
func putNumber(b []byte, n uint64) { copy(b, fmt.Sprintf("%016x", n)) }

func number(b []byte) uint64 {
	n, _ := strconv.ParseUint(string(b[:min(16, len(b))]), 16, 64)
	return n
}
