package backend_test

import (
	"errors"
	"testing"

	"github.com/sluicenet/sluice/core/backend"
)

// TestRepairs reports an error once, and its end; forgets endpoints; and is bounded.
func TestRepairs(t *testing.T) {
	r := backend.NewRepairs()
	broken := backend.Repair{Part: backend.PartProgram, Interface: "veth0", Endpoint: 3, Detail: "removed", Err: errors.New("no")}
	r.Add(broken)
	r.Add(broken)
	select {
	case <-r.Repaired():
	default:
		t.Error("not signalled")
	}
	if got := r.Take(); len(got) != 1 || got[0].Err == nil {
		t.Errorf("got %+v, want one error", got)
	}
	if !r.Broken(backend.PartProgram, "veth0", 3) || r.Broken(backend.PartMap, "veth0", 3) {
		t.Error("the wrong part is broken")
	}
	mended := broken
	mended.Err = nil
	r.Add(mended)
	if got := r.Take(); len(got) != 1 || got[0].Err != nil || r.Broken(backend.PartProgram, "veth0", 3) {
		t.Errorf("got %+v, want the repair", got)
	}
	r.Add(broken)
	r.Forget(3)
	r.Take()
	if r.Broken(backend.PartProgram, "veth0", 3) {
		t.Error("a detached endpoint is broken")
	}
	for range 5000 {
		r.Add(mended)
	}
	if n := len(r.Take()); n != 1024 {
		t.Errorf("%d repairs wait, want the last 1024", n)
	}
}
