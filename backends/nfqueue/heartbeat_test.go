//go:build linux

package nfqueue_test

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// worked is an attached endpoint whose worker counts, drops on demand, and hangs on demand.
type worked struct {
	t        *testing.T
	w, other *testnet.Workload
	b        *nfqueue.Backend
	a        backend.Attachment
	judged   atomic.Int64
	drop     atomic.Bool
	hang     atomic.Pointer[chan struct{}] // the worker waits until it is closed
}

func startWorked(t *testing.T, cfg nfqueue.Config, fail backend.FailMode) *worked {
	t.Helper()
	ws := testnet.New(t).Bridge("a", "b").Workloads
	x := &worked{t: t, w: ws[0], other: ws[1]}
	x.b, x.a = attach(t, cfg, ws[0], fail)
	for _, q := range x.a.Queues() {
		drive(t, q, func(f *packet.Frame) {
			x.judged.Add(1)
			f.Verdict.Action = packet.Pass
			if x.drop.Load() {
				f.Verdict.Action = packet.Drop
			}
		}, func() {
			if c := x.hang.Load(); c != nil {
				<-*c
			}
		})
	}
	return x
}

// reaches reports whether a datagram to the other workload arrives.
func (x *worked) reaches(network string) bool {
	x.t.Helper()
	l := x.other.ListenPacket(network, x.other.Addr(network, 0))
	c := x.w.Dial(network, l.LocalAddr().String())
	_, _ = c.Write([]byte("x")) // a drop is an error at once
	_ = l.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	_, _, err := l.ReadFrom(make([]byte, 8))
	return err == nil
}

// works checks that everything is judged, by both families.
func (x *worked) works(when string) {
	x.t.Helper()
	for _, network := range []string{"udp4", "udp6"} {
		before := x.judged.Load()
		if !x.reaches(network) || x.judged.Load() == before {
			x.t.Errorf("%s: %s datagram judged %d times, or lost", when, network, x.judged.Load()-before)
		}
		x.drop.Store(true)
		if x.reaches(network) {
			x.t.Errorf("%s: a dropped %s datagram arrived", when, network)
		}
		x.drop.Store(false)
	}
}

// kinds are the methods by which rules queue packets, of those that the kernel has.
func kinds(t *testing.T) (out []nfqueue.Expression) {
	t.Helper()
	w := testnet.New(t).Bridge("a").Workloads[0]
	for _, kind := range []nfqueue.Expression{nfqueue.ExprNative, nfqueue.ExprTarget} {
		b := nfqueue.New(nfqueue.Config{Expression: kind})
		a, err := b.Attach(t.Context(), harness(nfqueue.Config{}, "").Endpoint(1, w, backend.FailOpen))
		if err == nil {
			err = a.Activate()
		}
		switch {
		case err == nil:
			out = append(out, kind)
		case !errors.Is(err, backend.ErrUnsupported):
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	return out
}

// TestHang lets the worker hang: new packets of endpoints that fail open pass, those of others
// are dropped, and each is counted. Afterwards everything is judged again.
func TestHang(t *testing.T) {
	testnet.RequireRoot(t)
	const limit = 400 * time.Millisecond
	for _, kind := range kinds(t) {
		for _, fail := range []backend.FailMode{backend.FailOpen, backend.FailClosed} {
			t.Run(fmt.Sprintf("%s/fail mode %d", kind, fail), func(t *testing.T) {
				x := startWorked(t, nfqueue.Config{Expression: kind, HeartbeatLimit: limit, Marks: true}, fail)
				x.works("before")
				time.Sleep(2 * limit) // an idle worker does not hang
				x.works("after a pause")
				release := make(chan struct{})
				x.hang.Store(&release)
				x.reaches("udp4") // the worker hangs after it
				time.Sleep(2 * limit)
				x.b.TakeUnjudged()
				before := x.judged.Load()
				for _, network := range []string{"udp4", "udp6"} {
					if got := x.reaches(network); got != (fail == backend.FailOpen) {
						t.Errorf("while the worker hangs: %s arrived: %v", network, got)
					}
				}
				if x.judged.Load() != before {
					t.Error("judged by a worker that hangs")
				}
				time.Sleep(limit / 2) // until a heartbeat is missed
				var frames uint64
				for _, u := range x.b.TakeUnjudged() {
					if u.Endpoint == 1 && u.Cause == backend.NoHeartbeat && u.Dropped == (fail == backend.FailClosed) {
						frames += u.Frames
					}
				}
				if frames < 2 {
					t.Errorf("%d frames counted", frames)
				}
				x.hang.Store(nil)
				close(release)
				time.Sleep(limit)
				x.works("afterwards")
			})
		}
	}
}

// TestNoLoopback has lo down, or without IPv6: heartbeats go out by the interface.
func TestNoLoopback(t *testing.T) {
	testnet.RequireRoot(t)
	for _, command := range []string{"ip link set lo down", "sysctl -w net.ipv6.conf.lo.disable_ipv6=1"} {
		x := startWorked(t, nfqueue.Config{HeartbeatLimit: 300 * time.Millisecond}, backend.FailClosed)
		inside(t, x.w, command)
		time.Sleep(time.Second)
		x.works(command)
	}
}

// inside runs a command in a workload.
func inside(t *testing.T, w *testnet.Workload, command string) {
	t.Helper()
	w.Do(func() error {
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
		return nil
	})
}

// TestRulesRepaired removes and changes the rules as other programs could: they are placed
// again within a second, and it is reported. Other programs' rules are not.
func TestRulesRepaired(t *testing.T) {
	testnet.RequireRoot(t)
	for _, c := range []struct{ name, command string }{
		{"ruleset flushed", "nft flush ruleset"},
		{"tables deleted", "nft delete table ip sluice; nft delete table ip6 sluice"},
		{"one table deleted", "nft delete table ip6 sluice"},
		{"chain flushed", "nft flush chain ip sluice out"},
		{"chains flushed", "nft flush table ip sluice; nft flush table ip6 sluice"},
		{"chain deleted", "nft flush chain ip6 sluice in; nft delete chain ip6 sluice in"},
		{"rule inserted", "nft insert rule ip sluice out accept; nft insert rule ip6 sluice out accept"},
		{"dormant", "nft 'add table ip sluice { flags dormant; }'; nft 'add table ip6 sluice { flags dormant; }'"},
		{"heartbeat rule removed", "nft flush chain ip sluice alive"},
		{"heartbeats deleted", "nft flush set ip sluice alive"},
	} {
		for _, kind := range kinds(t) {
			t.Run(c.name+"/"+kind.String(), func(t *testing.T) {
				x := startWorked(t, nfqueue.Config{Expression: kind}, backend.FailClosed)
				x.works("before")
				time.Sleep(time.Second) // the rules are listed
				inside(t, x.w, "nft 'add table ip other; add chain ip other c { type filter hook output priority 0; }'")
				time.Sleep(time.Second)
				if got := x.b.TakeRepairs(); len(got) > 0 {
					t.Errorf("reported for another program's rules: %+v", got)
				}
				inside(t, x.w, c.command)
				if c.name != "heartbeats deleted" {
					select {
					case <-x.b.Repaired():
					case <-time.After(time.Second):
						t.Fatal("not repaired within a second")
					}
					if got := x.b.TakeRepairs(); len(got) == 0 || got[0].Part != backend.PartRules || got[0].Err != nil || !strings.Contains(got[0].Detail, "sluice") {
						t.Errorf("got %+v", got)
					}
				}
				time.Sleep(300 * time.Millisecond)
				x.works("after")
			})
		}
	}
}
