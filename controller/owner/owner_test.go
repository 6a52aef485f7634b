package owner_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicenet/sluice/controller/owner"
)

// clock is a manual clock.
type clock struct{ at time.Time }

func (c *clock) now() time.Time          { return c.at }
func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

func claim(id, boot, previous string) owner.Claim {
	return owner.Claim{Run: owner.Run{ID: id, Boot: boot, Machine: "m-" + id}, Previous: previous}
}

func TestClaim(t *testing.T) {
	first := claim("first", "boot1", "")
	tests := []struct {
		name    string
		second  owner.Claim
		after   time.Duration // of silence of the first
		granted bool
		rival   bool
	}{
		{"at once", claim("second", "boot2", ""), 0, false, true},
		{"before the lease ends", claim("second", "boot2", ""), owner.Lease - 1, false, true},
		{"after the lease", claim("second", "boot2", ""), owner.Lease, true, false},
		{"successor at once", claim("second", "boot1", "first"), 0, false, false},
		{"successor after its shorter lease", claim("second", "boot1", "first"), owner.SuccessorLease, true, false},
		{"copied folder on another machine", claim("second", "boot2", "first"), owner.SuccessorLease, false, true},
		{"same machine, successor of another run", claim("second", "boot1", "zeroth"), owner.SuccessorLease, false, true},
		{"no boot id", claim("second", "", "first"), owner.SuccessorLease, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &clock{at: time.Unix(1000, 0)}
			r := owner.New(c.now)
			if res := r.Claim("n", first); !res.Granted || !res.Changed {
				t.Fatalf("the first claim: %+v", res)
			}
			c.advance(tt.after)
			res := r.Claim("n", tt.second)
			if res.Granted != tt.granted || res.Changed != tt.granted || res.NewRival != tt.rival {
				t.Errorf("got %+v, want granted %v", res, tt.granted)
			}
			want := "first"
			if tt.granted {
				want = "second"
			}
			if h, live := r.Owner("n"); h.ID != want || !live || res.Owner.ID != want {
				t.Errorf("owner is %q (live %v), the answer names %q, want %q", h.ID, live, res.Owner.ID, want)
			}
			if got := len(r.Rivals("n")); (got > 0) != tt.rival {
				t.Errorf("%d rivals", got)
			}
		})
	}
}

// TestSuccessor: an agent that is started again after kill -9 is no rival of its previous run,
// whether it registers or reports, until that turns out to be alive.
func TestSuccessor(t *testing.T) {
	c := &clock{at: time.Unix(1000, 0)}
	r := owner.New(c.now)
	r.Claim("n", claim("first", "b", ""))
	c.advance(time.Second)
	for range 2 {
		if res := r.Claim("n", claim("second", "b", "first")); res.Granted || res.NewRival || !res.Successor {
			t.Errorf("registers: %+v", res)
		}
		if res := r.Claim("n", claim("second", "", "")); res.Granted || res.NewRival || !res.Successor {
			t.Errorf("reports: %+v", res)
		}
	}
	if res := r.Claim("n", claim("clone", "b", "")); !res.NewRival || res.Successor {
		t.Errorf("a clone beside it: %+v", res)
	}
	c.advance(owner.SuccessorLease)
	if res := r.Claim("n", claim("second", "b", "first")); !res.Granted || !res.Successor || len(r.Rivals("n")) != 1 {
		t.Errorf("after the lease: %+v, rivals %v", res, r.Rivals("n"))
	}

	r.Claim("n", claim("third", "b", "second")) // the folder was copied: the second renews
	c.advance(time.Second)
	r.Claim("n", claim("second", "b", ""))
	if res := r.Claim("n", claim("third", "b", "second")); !res.NewRival {
		t.Errorf("beside a live owner: %+v", res)
	}
}

// TestRenewal checks that an owner that renews its lease keeps its name against
// rivals that try all the time, one of them with a copied folder.
func TestRenewal(t *testing.T) {
	c := &clock{at: time.Unix(1000, 0)}
	r := owner.New(c.now)
	r.Claim("n", claim("first", "boot1", ""))
	for range 1000 {
		c.advance(2 * time.Second)
		for _, other := range []owner.Claim{claim("clone", "boot1", "first"), claim("other", "boot2", "")} {
			if r.Claim("n", other).Granted {
				t.Fatal("a rival got the name of an owner that renews it")
			}
		}
		if res := r.Claim("n", claim("first", "boot1", "")); !res.Granted || res.Changed {
			t.Fatalf("renewal: %+v", res)
		}
	}
	if got := len(r.Rivals("n")); got != 2 {
		t.Errorf("%d rivals, want 2", got)
	}
	c.advance(owner.RivalKept + time.Second)
	if got := len(r.Rivals("n")); got != 0 {
		t.Errorf("%d rivals after they were gone, want 0", got)
	}
}

func TestRelease(t *testing.T) {
	c := &clock{at: time.Unix(1000, 0)}
	r := owner.New(c.now)
	if r.Release("n", "first") {
		t.Error("a name without an owner was released")
	}
	r.Claim("n", claim("first", "b", ""))
	r.Claim("n", claim("second", "b", ""))
	if r.Release("n", "second") {
		t.Error("a rival released the owner's name")
	}
	if !r.Release("n", "first") {
		t.Error("the owner could not release its name")
	}
	if _, live := r.Owner("n"); live {
		t.Error("a released name has an owner")
	}
	if !r.Claim("n", claim("second", "b", "")).Granted {
		t.Error("a released name was refused")
	}
}

// TestRestore: after another controller took the lead, the stored owner keeps its name for one lease.
func TestRestore(t *testing.T) {
	c := &clock{at: time.Unix(1000, 0)}
	r := owner.New(c.now)
	r.Restore("n", owner.Run{ID: "first", Boot: "b"})
	if r.Claim("n", claim("second", "x", "")).Granted {
		t.Error("a clone got the name at a change of the leader")
	}
	c.advance(owner.Lease)
	if !r.Claim("n", claim("second", "x", "")).Granted {
		t.Error("the name of an owner that is gone stays with it")
	}
}

func TestBounds(t *testing.T) {
	c := &clock{at: time.Unix(1000, 0)}
	r := owner.New(c.now)
	r.Claim("n", claim("first", "b", ""))
	for i := range 1000 {
		r.Claim("n", claim(fmt.Sprint("rival", i), "b", ""))
	}
	if got := len(r.Rivals("n")); got > 16 {
		t.Errorf("%d rivals are kept", got)
	}
}
