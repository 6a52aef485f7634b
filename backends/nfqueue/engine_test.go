//go:build linux

package nfqueue_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/stage/testnet"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// enforced is a workload whose packets go through queues to an engine in protect mode.
type enforced struct {
	t       *testing.T
	e       *engine.Engine
	a, b    *testnet.Workload
	version uint64
	flows   []flow.Record
}

func newEnforced(t *testing.T, cfg nfqueue.Config) *enforced {
	t.Helper()
	testnet.RequireRoot(t)
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	ws := testnet.New(t).Bridge("a", "b").Workloads
	x := &enforced{t: t, e: engine.New(engine.Config{Parsers: reg}), a: ws[0], b: ws[1]}
	be := nfqueue.New(cfg)
	t.Cleanup(func() {
		if err := errors.Join(x.e.Close(), be.Close()); err != nil {
			t.Error(err)
		}
	})
	x.apply(policy.RuleSpec{ID: 1})
	if err := x.e.Attach(context.Background(), be, harness(cfg, "").Endpoint(1, x.a, backend.FailOpen), "a"); err != nil {
		t.Fatal(err)
	}
	return x
}

// apply applies rules.
func (x *enforced) apply(rules ...policy.RuleSpec) {
	x.t.Helper()
	x.version++
	table, err := policy.Compile(&policy.Spec{
		Version: x.version, Groups: []policy.GroupSpec{{Name: "any", Any: true}}, Identities: []policy.IdentitySpec{{Groups: []uint32{0}}},
		Workloads: []policy.WorkloadSpec{{ID: "a", Mode: policy.Protect}}, Rules: rules,
	})
	if err != nil {
		x.t.Fatal(err)
	}
	x.e.Apply(table)
}

// counter reads one of the engine's.
func (x *enforced) counter(name string) uint64 { return x.e.Stats().Counters[name] }

// of sums up the records of a connection.
func (x *enforced) of(c net.Conn) (packets, bytes uint64, last flow.Record) {
	x.e.Drain(func(f *flow.Record) { x.flows = append(x.flows, *f) })
	port := netip.MustParseAddrPort(c.LocalAddr().String()).Port()
	for _, f := range x.flows {
		if f.ClientPort == port {
			packets += f.Packets[0] + f.Packets[1]
			bytes += f.Bytes[0] + f.Bytes[1]
			last = f
		}
	}
	return packets, bytes, last
}

// exchange sends n bytes in pieces and reads them back.
func exchange(t *testing.T, c net.Conn, n int) {
	t.Helper()
	piece, back := bytes.Repeat([]byte("0123456789abcdef"), 2048), make([]byte, 32<<10)
	for ; n > 0; n -= len(piece) {
		piece, back = piece[:min(n, len(piece))], back[:min(n, len(back))]
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write(piece); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, back); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(piece, back) {
			t.Fatal("other bytes came back")
		}
	}
}

// TestEngineOffloads offloads an engine's decided flows: few of their packets reach it any
// more, every packet is in the records, another policy applies to them at once, and their end
// is seen.
func TestEngineOffloads(t *testing.T) {
	for _, family := range []string{"tcp4", "tcp6"} {
		t.Run(family, func(t *testing.T) {
			x := newEnforced(t, nfqueue.Config{Marks: true})
			const size = 8 << 20
			long, _ := stream(t, family, x.a, x.b)
			exchange(t, long, size)
			for range 20 {
				c, _ := stream(t, family, x.a, x.b)
				exchange(t, c, 1<<10) // short: all of it reaches the engine
				c.Close()
			}
			x.accounted()
			packets, sum, _ := x.of(long)
			if sum < 2*size || sum > 2*size*11/10 {
				t.Errorf("%d bytes in %d packets reported, want twice %d and headers", sum, packets, size)
			}
			if n := x.counter("engine.offloaded"); n != 1 {
				t.Errorf("%d flows left, want the long one alone", n)
			}
			if n := x.counter("engine.offloaded_bytes"); n < size {
				t.Errorf("%d bytes passed in the kernel of %d", n, 2*size)
			}
			closed, _ := stream(t, family, x.a, x.b)
			exchange(t, closed, size/4)
			closed.Close()
			await(t, "end of a flow that left", func() bool {
				_, sum, last := x.of(closed)
				return last.Kind == flow.End && last.Phase == flow.PhaseClosed && sum > size/2
			})
			x.denied(long)
		})
	}
}

// accounted waits until every packet that the connection tracker has counted either reached
// the engine or was counted as passed in the kernel.
func (x *enforced) accounted() {
	x.t.Helper()
	var tracked, came, unseen uint64
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var err error
		if tracked, _, err = nfqueue.Tracked(x.a.Path); err != nil {
			x.t.Fatal(err)
		}
		c := x.e.Stats().Counters
		came, unseen = c["engine.frames"]-c["engine.neighbour_discovery"], c["engine.offloaded_packets"]
		if tracked == came+unseen && unseen > 0 {
			return
		}
	}
	x.t.Errorf("the kernel counted %d packets, %d came to the engine and %d are counted as passing in the kernel", tracked, came, unseen)
}

// denied removes the rule that an offloaded flow passed by.
func (x *enforced) denied(c net.Conn) {
	x.t.Helper()
	begin := time.Now()
	x.apply()
	_ = c.SetDeadline(time.Now().Add(patience))
	buf := make([]byte, 1024)
	for {
		if _, err := c.Write(buf); err == nil {
			if _, err = io.ReadFull(c, buf); err == nil {
				continue
			}
			if errors.Is(err, syscall.ECONNRESET) {
				break
			}
			x.t.Fatalf("after %s: %v, want a reset", time.Since(begin), err)
		} else if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			x.t.Fatalf("after %s: %v, want a reset", time.Since(begin), err)
		}
		break
	}
	x.t.Logf("a flow that had left is reset %s after the policy that denies it", time.Since(begin).Round(time.Millisecond))
	await(x.t, "the refusal is reported", func() bool { _, _, last := x.of(c); return last.Verdict == flow.Deny })
}
