//go:build linux

package nfqueue_test

import (
	"errors"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// handsOver counts the expressions by which the rules of a namespace queue packets.
func handsOver(t *testing.T, w *testnet.Workload) (native, target int) {
	t.Helper()
	f, err := netns.Open(w.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := nftables.New(nftables.WithNetNSFd(int(f.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.ListChains()
	if err != nil {
		t.Fatal(err)
	}
	for _, ch := range list {
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rules {
			for _, e := range r.Exprs {
				switch e.(type) {
				case *expr.Queue:
					native++
				case *expr.Target:
					target++
				}
			}
		}
	}
	return native, target
}

// TestExpression checks the kernel's features: rules use its own expression where it exists,
// else the target of xtables.
func TestExpression(t *testing.T) {
	testnet.RequireRoot(t)
	w := testnet.New(t).Bridge("a", "b").Workloads[0]
	try := func(x nfqueue.Expression) (native, target int, err error) {
		cfg := nfqueue.Config{Expression: x, Marks: true}
		be := nfqueue.New(cfg)
		defer func() {
			if err := be.Close(); err != nil {
				t.Error(err)
			}
		}()
		a, err := be.Attach(t.Context(), harness(cfg, "").Endpoint(1, w, backend.FailOpen))
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Activate(); err != nil {
			return 0, 0, err
		}
		native, target = handsOver(t, w)
		return native, target, nil
	}
	const rules = 4 // in and out, of both families
	native, target, err := try(nfqueue.ExprNative)
	has := err == nil
	if !has && !errors.Is(err, backend.ErrUnsupported) {
		t.Fatal(err)
	}
	if has && (native != rules || target != 0) {
		t.Errorf("asked for the native expression: %d rules with it, %d with the target", native, target)
	}
	t.Logf("this kernel has the native expression: %v", has)
	want := [2]int{0, rules}
	if has {
		want = [2]int{rules, 0}
	}
	if native, target, err = try(nfqueue.ExprAuto); err != nil || [2]int{native, target} != want {
		t.Errorf("chosen: %d rules with the native expression, %d with the target, %v, want %v", native, target, err, want)
	}
	if native, target, err = try(nfqueue.ExprTarget); err != nil || native != 0 || target != rules {
		t.Errorf("asked for the target: %d rules with the native expression, %d with the target, %v", native, target, err)
	}
}
