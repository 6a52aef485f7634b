package agent

import (
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/policy"
)

// applying is a dataplane that counts the policies that it gets.
type applying struct {
	countingPlane
	n int
}

func (a *applying) Apply(*policy.Table) { a.n++ }

// served are services.
type served []policy.ServiceSpec

func (s *served) Services() []policy.ServiceSpec { return *s }

// TestAdoptsChanges: a policy is applied when it, or a service, has changed, and not again.
func TestAdoptsChanges(t *testing.T) {
	compile := func(version uint64) *policy.Table {
		table, err := policy.Compile(&policy.Spec{Version: version})
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	service := func(to string) policy.ServiceSpec {
		return policy.ServiceSpec{Proto: 6, At: netip.MustParseAddrPort("10.96.0.10:80"), Targets: []netip.AddrPort{netip.MustParseAddrPort(to)}}
	}
	engine, hosts, where := &applying{}, &applying{}, &served{}
	p := newEnforcement(Config{Engine: engine}, hosts, where)
	for i, step := range []struct {
		change func()
		want   int
	}{
		{func() {}, 0},
		{func() { p.base = compile(1) }, 1},
		{func() {}, 1},
		{func() { *where = served{service("10.0.0.2:80")} }, 2},
		{func() { *where = served{service("10.0.0.2:80")} }, 2},
		{func() { *where = served{service("10.0.0.3:80")} }, 3},
		{func() { p.base = compile(2) }, 4},
		{func() { *where = nil }, 5},
		{func() {}, 5},
	} {
		step.change()
		p.adopt(nil)
		if engine.n != step.want || hosts.n != step.want {
			t.Errorf("step %d: applied %d and %d times, want %d", i, engine.n, hosts.n, step.want)
		}
	}
}
