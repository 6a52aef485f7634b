package role_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/role"
)

// TestMemoryOfApplications: the application is that of the conversation in either orientation, of its workload alone, and
// of datagrams alone.
func TestMemoryOfApplications(t *testing.T) {
	for family, e := range ends {
		tuple := role.Tuple{Local: e[0], Remote: e[1], LocalPort: 40000, RemotePort: 53, Proto: udp}
		h, _ := role.SeedOf("w").Hash(&tuple)
		stream := tuple
		stream.Proto = tcp
		hs, _ := role.SeedOf("w").Hash(&stream)
		m := &role.Memory{Apps: map[uint64]app.ID{h: app.DNS, hs: app.DNS}}
		back, other := tuple.Reverse(), tuple
		other.RemotePort = 54
		for name, c := range map[string]struct {
			m    *role.Memory
			of   string
			t    role.Tuple
			want app.ID
		}{
			"as it was":            {m, "w", tuple, app.DNS},
			"the other end":        {m, "w", back, app.DNS},
			"another port":         {m, "w", other, app.Undecided},
			"another workload":     {m, "v", tuple, app.Undecided},
			"a connection":         {m, "w", stream, app.Undecided},
			"nothing remembered":   {nil, "w", tuple, app.Undecided},
			"nothing of that kind": {&role.Memory{}, "w", tuple, app.Undecided},
		} {
			if got := c.m.App(role.SeedOf(c.of), &c.t); got != c.want {
				t.Errorf("%s, %s: got %s, want %s", family, name, got, c.want)
			}
		}
	}
}
