package test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// TestStoppedQueueIsLoud stops the process of a workload behind a netfilter queue and sends what no
// rule allows: with fail open everything arrives, new TCP connections too, with fail closed nothing.
func TestStoppedQueueIsLoud(t *testing.T) {
	for _, fail := range []string{"open", "closed"} {
		t.Run(fail, func(t *testing.T) {
			l := newLab(t)
			metrics := freePort(t)
			l.args = append(l.args, "--mode", "protect", "--listen", metrics, "--fail", fail, "--backend", l.api.Name+"=nfqueue")
			d := l.start()
			until(t, 10*time.Second, "the server is enforced by queues", func() error { return l.enforced("nfqueue", 1) })
			l.run("mode", "set", "intruder", "monitor") // only the server's queue judges
			const frames = 50
			arrived, connected := int64(0), 0
			d.stopped(func() {
				for _, network := range []string{"udp4", "udp6"} {
					addr, n := received(t, l.api, network)
					c := l.intruder.Dial(network, addr)
					for range frames {
						_, _ = c.Write([]byte("x"))
					}
					arrived += settles(n)
				}
				for _, network := range []string{"tcp4", "tcp6"} {
					to := l.api.Listen(network, l.api.Addr(network, 0))
					if c, err := l.intruder.TryDial(network, to.Addr().String(), 500*time.Millisecond); err == nil {
						connected++
						_ = c.Close()
					}
				}
			})
			want, dropped := int64(2*frames), false
			if fail == "closed" {
				want, dropped = 0, true
			}
			if arrived != want || connected != int(want)/frames {
				t.Errorf("%d datagrams arrived, %d connections opened, want %d and %d", arrived, connected, want, want/frames)
			}
			verdict := map[bool]string{false: "violate", true: "deny"}[dropped]
			until(t, 5*time.Second, "the violations have the frames", func() error {
				if got := l.rows(); got["api nfqueue: heartbeat "+verdict] < 2*frames {
					return fmt.Errorf("%v", got)
				}
				return nil
			})
			l.refused("afterwards", l.intruder, 9090)
		})
	}
}

// TestChangedPartsAreLoud changes parts of Sluice as other programs could: policy is in force again
// within a second or two, and there is an event, a log line and a count.
func TestChangedPartsAreLoud(t *testing.T) {
	l := newLab(t)
	metrics := freePort(t)
	l.args = append(l.args, "--mode", "protect", "--listen", metrics, "--fail", "closed", "--backend", l.api.Name+"=nfqueue")
	d := l.start()
	until(t, 10*time.Second, "all are enforced", func() error { return l.enforced("inline", 2) })
	until(t, 10*time.Second, "the server is enforced by queues", func() error { return l.enforced("nfqueue", 1) })
	time.Sleep(time.Second) // the rules are listed
	count := func(part string) float64 {
		samples, _, err := scrape(metrics)
		if err != nil {
			t.Fatal(err)
		}
		return sum(samples, "sluice_repairs_"+part+"_total")
	}
	for _, c := range []struct {
		in            *testnet.NS
		cause, counts string
		command       string
	}{
		{l.host, "port_changed", "port", "ip link set sluice-svc down"},
		{l.host, "port_changed", "port", "ip link del sluice-svc"},
		{l.api.NS, "rules_changed", "rules", "nft flush ruleset"},
	} {
		before := count(c.counts)
		c.in.Do(func() error {
			out, err := exec.CommandContext(t.Context(), "sh", "-c", c.command).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s: %w: %s", c.command, err, out)
			}
			return nil
		})
		time.Sleep(time.Second)
		l.refused(c.command, l.intruder, 9090)
		until(t, 10*time.Second, c.command+" is counted and reported", func() error {
			if got := count(c.counts); got <= before {
				return fmt.Errorf("counted %v times, before %v", got, before)
			}
			if out := l.run("observe", "--kind", "failopen"); !strings.Contains(out, c.cause) {
				return fmt.Errorf("events: %s", out)
			}
			return nil
		})
	}
	if log := d.log.String(); !strings.Contains(log, "change by another program repaired") {
		t.Errorf("no log line in:\n%s", log)
	}
}
