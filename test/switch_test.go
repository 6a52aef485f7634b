package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

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
	tr.continues("before")
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
		tr.continues("switch " + strconv.Itoa(i+1) + ", to " + how.choice)
	}
	l.run("workloads", "backend", "web", "auto")
	for _, how := range []struct{ label, shown, reason string }{{"nfqueue", "nfqueue", "chosen by the label sluice.net/backend"}, {"afpacket", "inline", "chosen by the label"}, {"", "inline", "hooked on the host's end"}} {
		l.relabel(how.label)
		l.switched(how.shown, how.reason)
		tr.continues("label " + how.label)
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

// unsettled is what changes by itself after interfaces were made: timers of a bridge, and states that the kernel reports a
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
