package test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// seenEvent is a line of `sluice observe -o json`, as far as it is looked at.
type seenEvent struct {
	Time                                time.Time
	Kind, From, To, Client, Server      string
	Family, Outcome, Direction, Verdict string
	Reporter, Cursor                    string
	ClientPort                          uint16 `json:"client_port"`
	Port                                uint16
	Sessions                            int
	BytesOut                            int `json:"bytes_out"`
	BytesIn                             int `json:"bytes_in"`
	Missed                              int
}

// seen is what an observer has written so far.
func (d *daemon) seen() []seenEvent {
	d.t.Helper()
	var out []seenEvent
	text := d.log.String()
	for line := range strings.Lines(text[:strings.LastIndexByte(text, '\n')+1]) {
		if !strings.HasPrefix(line, "{") {
			continue // what it says of the connection to the daemon
		}
		var e seenEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			d.t.Fatalf("%v in %q", err, line)
		}
		out = append(out, e)
	}
	return out
}

// observe starts an observer of connections with api's port, and waits until it observes.
func (l *lab) observe() *daemon {
	l.t.Helper()
	d := l.spawn(l.command("observe", "-f", "-o", "json", "--to", "api", "--port", "tcp/8080"))
	until(l.t, 5*time.Second, "the observer begins", func() error {
		if err := l.get(l.intruder, "tcp4"); err != nil {
			return err
		}
		time.Sleep(300 * time.Millisecond)
		if len(d.seen()) == 0 {
			return fmt.Errorf("observed: %s", d.log)
		}
		return nil
	})
	return d
}

// ofWeb are web's events, checked for what every event of a connection has.
func (d *daemon) ofWeb(l *lab) []seenEvent {
	d.t.Helper()
	list := slices.DeleteFunc(d.seen(), func(e seenEvent) bool { return e.From != "web" })
	for _, e := range list {
		server := netip.MustParseAddrPort(l.api.Addr("tcp"+e.Family[len(e.Family)-1:], 8080)).Addr().String()
		if e.To != "api" || e.Server != server || e.Direction != "egress" || e.Reporter != "web" || e.Missed != 0 || e.Sessions < 1 || e.Sessions == 1 && e.ClientPort == 0 {
			d.t.Errorf("event %+v", e)
		}
	}
	if !slices.IsSortedFunc(list, func(a, b seenEvent) int { return a.Time.Compare(b.Time) }) {
		d.t.Errorf("out of order: %+v", list)
	}
	return list
}

// whole is an error unless web's events of a kind are of so many connections over each family.
func (d *daemon) whole(l *lab, kind string, want int) error {
	n := map[string]int{}
	for _, e := range d.ofWeb(l) {
		if e.Kind == kind {
			n[e.Family] += e.Sessions
		}
	}
	if n["ipv4"] != want || n["ipv6"] != want {
		return fmt.Errorf("%s: %v, want %d each; observed:\n%s", kind, n, want, d.log)
	}
	return nil
}

// TestObserveOnce has connections of which both ends are managed, over both families: short ones one
// by one are one event each, one that lasts is opened and later ended, and a burst is counted whole.
func TestObserveOnce(t *testing.T) {
	l := newLab(t)
	l.start()
	d := l.observe()
	const short, burst = 4, 30
	ended := func(what string, want int) {
		t.Helper()
		until(t, 5*time.Second, what, func() error { return d.whole(l, "ended", want) })
	}
	gets := func(n int, apart time.Duration) {
		t.Helper()
		for _, network := range families {
			for range n {
				if err := l.get(l.web, network); err != nil {
					t.Fatal(err)
				}
				time.Sleep(apart)
			}
		}
	}
	gets(short, 600*time.Millisecond) // each is reported by itself
	ended("each short one ended", short)
	ports := map[uint16]bool{}
	for _, e := range d.ofWeb(l) {
		if e.Kind != "ended" || e.Sessions != 1 || ports[e.ClientPort] || e.Outcome != "closed" || e.BytesOut == 0 || e.BytesIn == 0 {
			t.Errorf("event %+v, want one of each connection, ended and closed, with its bytes", e)
		}
		ports[e.ClientPort] = true
	}

	for _, network := range families {
		l.long[network] = l.web.Dial(network, l.api.Addr(network, 8080))
		if err := request(l.long[network]); err != nil {
			t.Fatal(err)
		}
	}
	until(t, 5*time.Second, "the long ones opened", func() error { return d.whole(l, "opened", 1) })
	for _, network := range families {
		l.long[network].Close()
	}
	ended("the long ones ended", short+1)

	gets(burst, 0)
	ended("the burst ended", short+1+burst)
	time.Sleep(time.Second) // for events that should not be there
	for kind, want := range map[string]int{"opened": 1, "ended": short + 1 + burst} {
		if err := d.whole(l, kind, want); err != nil {
			t.Error(err)
		}
	}
	l.kept(d)
}

// kept compares what is shown without -f, the newest events that are kept, with what was observed.
func (l *lab) kept(d *daemon) {
	l.t.Helper()
	var kept []seenEvent
	for line := range strings.Lines(l.run("observe", "--limit", "5", "--from", "web", "-o", "json")) {
		var e seenEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			l.t.Fatal(err)
		}
		kept = append(kept, e)
	}
	all := d.ofWeb(l)
	if len(kept) != 5 || !slices.EqualFunc(kept, all[len(all)-5:], func(a, b seenEvent) bool { return a.Cursor == b.Cursor }) {
		l.t.Errorf("kept %+v, want the last 5 of %+v", kept, all)
	}
}

// TestObserveResumes has the daemon killed and started again under an observer, which continues.
func TestObserveResumes(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	first := l.start()
	d := l.observe()
	first.kill()
	l.start()
	until(t, 10*time.Second, "a connection after the restart is observed", func() error {
		if err := l.get(l.web, "tcp6"); err != nil {
			return err
		}
		time.Sleep(300 * time.Millisecond)
		if list := d.seen(); !slices.ContainsFunc(list, func(e seenEvent) bool { return e.From == "web" && e.Family == "ipv6" }) {
			return fmt.Errorf("observed: %s", d.log)
		}
		return nil
	})
	if log := d.log.String(); !strings.Contains(log, "connection lost") || !strings.Contains(log, "connected again") {
		t.Errorf("the loss is not reported:\n%s", log)
	}
	cursors := map[string]bool{}
	for _, e := range d.seen() {
		if cursors[e.Cursor] {
			t.Errorf("shown twice: %+v", e)
		}
		cursors[e.Cursor] = true
	}
}
