package lab_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/lab"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// Without anyone in between everything works: what the demo shows as refused is
// refused by Sluice and not by the lab.
func TestLabIsOpen(t *testing.T) {
	testnet.RequireRoot(t)
	before, err := netns.List()
	if err != nil {
		t.Fatal(err)
	}
	l, err := lab.New(fmt.Sprintf("slab%d-", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		after, err := netns.List()
		if err != nil || len(after) != len(before) {
			t.Errorf("namespaces %v before and %v after (%v)", before, after, err)
		}
	})
	if err := l.Serve(); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for _, f := range l.Flows() {
		if err := f.Once(ctx); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
	kept, err := l.Keep(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kept {
		for range 2 {
			if err := k.Use(ctx); err != nil {
				t.Error(err)
			}
		}
	}
	for _, a := range l.Attempts() {
		if a.To == "cache" && a.Proto == "udp" {
			continue // no process listens there: the kernel refuses it by itself
		}
		if got, _, err := l.Try(ctx, a); got != lab.Open {
			t.Errorf("%s over %s: %s (%v), want open", a.What, a.Family, got, err)
		}
	}
}
