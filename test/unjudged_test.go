package test

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// unjudgedRow is one row of `violations`.
type unjudgedRow struct {
	From, Verdict, Reason, Text string
	Count                       uint64
}

// received counts what arrives at a port of a workload.
func received(t *testing.T, w *testnet.Workload, network string) (addr string, n *atomic.Int64) {
	t.Helper()
	l := w.ListenPacket(network, w.Addr(network, 0))
	if raw, err := l.(*net.UDPConn).SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20) })
	}
	n = new(atomic.Int64)
	go func() {
		for b := make([]byte, 64); ; n.Add(1) {
			if _, _, err := l.ReadFrom(b); err != nil {
				return
			}
		}
	}()
	return l.LocalAddr().String(), n
}

// settles waits until a counter stands still, and returns it.
func settles(n *atomic.Int64) int64 {
	for {
		before := n.Load()
		if time.Sleep(300 * time.Millisecond); n.Load() == before {
			return before
		}
	}
}

// rows are the violations for lack of a verdict, by workload, text and verdict.
func (l *lab) rows() map[string]uint64 {
	out := map[string]uint64{}
	for _, v := range read[[]unjudgedRow](l.program, "violations", "--reason", "failopen") {
		out[v.From+" "+v.Text+" "+v.Verdict] += v.Count
	}
	return out
}

// failure is one event of kind failopen.
type failure struct {
	From, Cause, Verdict string
	Began, Time          time.Time
	Frames               uint64
}

// failures are the events of frames without a verdict, one a line.
func (l *lab) failures() (out []failure) {
	l.t.Helper()
	for line := range strings.Lines(l.run("observe", "--kind", "failopen", "-o", "json")) {
		var f failure
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			l.t.Fatalf("%v in %s", err, line)
		}
		out = append(out, f)
	}
	return out
}

// loud checks that frames without a verdict are in events, the log and metrics, too.
func (l *lab) loud(d *daemon, metrics, workload, cause string, dropped bool, frames uint64) {
	l.t.Helper()
	until(l.t, 5*time.Second, "the events have the frames", func() error {
		n, es := uint64(0), l.failures()
		for _, e := range es {
			if e.From == workload && e.Cause == cause && (e.Verdict == "deny") == dropped {
				n += e.Frames
			}
		}
		if n != frames {
			return fmt.Errorf("%d frames, want %d, in %+v", n, frames, es)
		}
		return nil
	})
	word := "passed"
	if dropped {
		word = "dropped"
	}
	if line := fmt.Sprintf("frames %s without a verdict", word); !strings.Contains(d.log.String(), line) || !strings.Contains(d.log.String(), "cause="+cause) {
		l.t.Errorf("the log has no %q", line)
	}
	samples, text, err := scrape(metrics)
	if err != nil {
		l.t.Fatal(err)
	}
	if n := sum(samples, "sluice_unjudged_frames_total", `workload="`+workload+`"`, `cause="`+cause+`"`, fmt.Sprintf(`dropped="%t"`, dropped)); n != float64(frames) {
		l.t.Errorf("metric %v, want %d, in\n%s", n, frames, text)
	}
}

// stopped stops the program's process for as long as fn runs, beyond the limit of the heartbeat.
func (d *daemon) stopped(fn func()) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		d.t.Fatal(err)
	}
	time.Sleep(time.Second)
	fn()
	if err := d.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		d.t.Fatal(err)
	}
}

// TestStoppedIsLoud stops the process and sends what no rule allows: with fail open everything arrives, with
// fail closed nothing, and afterwards each frame is in violations, events, log and metrics. A group's own
// choice counts more than the default.
func TestStoppedIsLoud(t *testing.T) {
	l := newLab(t)
	metrics := freePort(t)
	l.args = append(l.args, "--mode", "protect", "--listen", metrics)
	d := l.start()
	until(t, 10*time.Second, "all three are enforced", func() error { return l.enforced("inline", 3) })
	const frames = 100
	pass := func(from *testnet.Workload) (arrived int64) {
		for _, network := range []string{"udp4", "udp6"} {
			addr, n := received(t, l.api, network)
			c := from.Dial(network, addr)
			for range frames {
				if _, err := c.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			arrived += settles(n)
		}
		return arrived
	}
	both := []*testnet.Workload{l.intruder, l.web}
	l.still()
	d.stopped(func() {
		for _, from := range both {
			if n := pass(from); n != 2*frames {
				t.Errorf("fail open: %d of %d datagrams arrived", n, 2*frames)
			}
		}
	})
	wait := func(want map[string]uint64) {
		t.Helper()
		until(t, 5*time.Second, "the violations have the frames", func() error {
			got := l.rows()
			for k, n := range want {
				if got[k] != n {
					return fmt.Errorf("%v, want %s: %d", got, k, n)
				}
			}
			return nil
		})
	}
	wait(map[string]uint64{"intruder inline: heartbeat violate": 2 * frames, "web inline: heartbeat violate": 2 * frames, "api inline: heartbeat violate": 4 * frames})
	l.loud(d, metrics, "intruder", "heartbeat", false, 2*frames)

	l.run("fail", "closed")
	l.run("fail", "open", "intruder", "api")
	time.Sleep(2 * time.Second) // the default has no command that waits for the agents
	var open, closed int64
	d.stopped(func() { open, closed = pass(l.intruder), pass(l.web) })
	if open != 2*frames || closed != 0 {
		t.Errorf("of %d datagrams each, %d arrived of the group that fails open and %d of the one that fails closed", 2*frames, open, closed)
	}
	wait(map[string]uint64{"intruder inline: heartbeat violate": 4 * frames, "web inline: heartbeat violate": 2 * frames,
		"web inline: heartbeat deny": 2 * frames, "api inline: heartbeat violate": 6 * frames})
	l.loud(d, metrics, "web", "heartbeat", true, 2*frames)
	l.refused("afterwards", l.intruder, 9090)
}

// still keeps the workloads from sending router solicitations and from asking for their neighbours, which
// would be counted with what a test sends: each has found the others before it returns.
func (l *lab) still() {
	l.t.Helper()
	all := []*testnet.Workload{l.api, l.web, l.intruder}
	for _, w := range all {
		w.Sysctl("net/ipv6/conf/eth0/accept_ra", "0")
		for _, family := range []string{"ipv4", "ipv6"} {
			w.Sysctl("net/"+family+"/neigh/eth0/base_reachable_time_ms", "3600000")
			w.Sysctl("net/"+family+"/neigh/eth0/delay_first_probe_time", "3600")
		}
	}
	for _, w := range all {
		for _, network := range []string{"udp4", "udp6"} {
			for _, to := range all {
				if to == w {
					continue
				}
				if _, err := w.Dial(network, to.Addr(network, 9)).Write([]byte("x")); err != nil {
					l.t.Fatal(err)
				}
			}
		}
	}
	time.Sleep(time.Second) // no answer is waited for: what is asked for here is refused
}

// enforced checks that n interfaces are attached in a way that is named so.
func (l *lab) enforced(way string, n int) error {
	if out := l.run("status"); strings.Count(l.run("workloads"), way) < n {
		return fmt.Errorf("%s\n%s", l.run("workloads"), out)
	}
	return nil
}

// TestQueueOverflowIsLoud stops the process of workloads behind netfilter queues and sends more than a queue
// has room for: with fail open the rest arrives, with fail closed it does not, and it is reported.
func TestQueueOverflowIsLoud(t *testing.T) {
	for _, fail := range []string{"open", "closed"} {
		t.Run(fail, func(t *testing.T) {
			l := newLab(t)
			l.api.Sysctl("net/ipv6/conf/all/disable_ipv6", "1") // its neighbour discovery would be counted, too
			metrics := freePort(t)
			l.args = append(l.args, "--mode", "protect", "--listen", metrics, "--fail", fail, "--heartbeat", "1m", "--backend", l.api.Name+"=nfqueue")
			d := l.start()
			until(t, 10*time.Second, "the server is enforced by queues", func() error { return l.enforced("nfqueue", 1) })
			l.run("mode", "set", "intruder", "monitor") // only the server's queue judges
			addr, n := received(t, l.api, "udp4")
			c := l.intruder.Dial("udp4", addr)
			d.stopped(func() {
				for range 80_000 {
					_, _ = c.Write([]byte("x"))
				}
				settles(n)
			})
			until(t, 10*time.Second, "what had no room is reported", func() error {
				_, _ = c.Write([]byte("x")) // its number shows what is missing
				got, past := l.rows(), n.Load()
				passed := got["api nfqueue: socket_full violate"]
				dropped := got["api nfqueue: socket_full deny"] + got["api nfqueue: queue_full deny"]
				if fail == "open" && (past == 0 || passed != uint64(past) || dropped != 0) || fail == "closed" && (past != 0 || passed != 0 || dropped == 0) {
					return fmt.Errorf("%d arrived, rows %v", past, got)
				}
				return nil
			})
			if fail == "open" {
				l.loud(d, metrics, "api", "socket_full", false, uint64(n.Load()))
			}
		})
	}
}

// TestDeadIsLoud kills the process: the next one reports since when nothing was enforced, and no violation.
func TestDeadIsLoud(t *testing.T) {
	l := newLab(t)
	l.args = append(l.args, "--mode", "protect")
	d := l.start()
	until(t, 10*time.Second, "all three are enforced", func() error { return l.enforced("inline", 3) })
	time.Sleep(2 * time.Second) // it writes down that it runs each second
	d.kill()
	died := time.Now()
	time.Sleep(time.Second)
	d = l.start()
	until(t, 10*time.Second, "the absence is reported", func() error {
		es := l.failures()
		if len(es) != 1 || es[0].Cause != "not_running" || es[0].Frames != 0 || es[0].Began.After(died) || es[0].Time.Before(died.Add(time.Second)) {
			return fmt.Errorf("events %+v, killed at %s", es, died)
		}
		return nil
	})
	if !strings.Contains(d.log.String(), "nothing was enforced while no agent ran") {
		t.Error("the log does not have it")
	}
	if got := l.rows(); len(got) != 0 {
		t.Errorf("violations of frames that were not counted: %v", got)
	}
}
