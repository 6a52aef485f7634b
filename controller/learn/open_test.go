package learn_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicenet/sluice/controller/learn"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// TestLearnOpen: connections whose application was not seen teach their port and direction; the
// application takes the place of any as soon as it is named.
func TestLearnOpen(t *testing.T) {
	type c = learn.Connection
	socket := func(port uint16) c {
		return conn(func(c *c) {
			c.Port, c.App, c.Evidence, c.Midstream, c.Idle = port, app.Undecided, flow.EvidenceSocket, true, true
		})
	}
	idle := conn(func(c *c) { c.App, c.Idle = app.Undecided, true })
	nameless := conn(func(c *c) { c.App, c.Evidence, c.Midstream = app.Unknown, flow.EvidenceListener, true })
	guessed := conn(func(c *c) {
		c.Port, c.App, c.Evidence, c.Midstream, c.Idle = 50051, app.Undecided, flow.EvidencePort, true, true
	})
	datagrams := conn(func(c *c) {
		c.Proto, c.App, c.Evidence, c.Midstream, c.Answered = 17, app.Undecided, flow.EvidenceSocket, true, false
	})
	ping := conn(func(c *c) { c.Proto, c.Port, c.App = 1, 0, app.Unknown })
	any80 := "10001 allow from web to api on tcp/80 for any"
	for _, tt := range []struct {
		name  string
		steps [][]c
		want  []string
	}{
		{"by its socket", [][]c{{socket(80)}}, []string{any80}},
		{"idle since its beginning", [][]c{{idle}}, []string{any80}},
		{"without a name from the middle", [][]c{{nameless}}, []string{any80}},
		{"by ports that reveal nothing", [][]c{{guessed}}, nil},
		{"a UDP socket that was not answered", [][]c{{datagrams}}, nil},
		{"named together", [][]c{{socket(80), conn(nil)}}, []string{"10001 allow from web to api on tcp/80 for http"}},
		{"named before", [][]c{{conn(nil)}, {socket(80), nameless}}, []string{"10001 allow from web to api on tcp/80 for http"}},
		{"named later", [][]c{{socket(80)}, {conn(nil)}}, []string{"10002 allow from web to api on tcp/80 for http"}},
		{"one of two named later", [][]c{{socket(80), socket(81)}, {conn(nil)}}, []string{"10001 allow from web to api on tcp/81 for any", "10002 allow from web to api on tcp/80 for http"}},
		{"private protocol later", [][]c{{socket(80)}, {conn(func(c *c) { c.App = app.Unknown })}}, []string{"10002 allow from web to api on tcp/80 for unknown"}},
		{"beside a protocol without applications", [][]c{{ping, socket(80)}, {conn(nil)}}, []string{"10001 allow from web to api on icmp for any", "10002 allow from web to api on tcp/80 for http"}},
	} {
		for _, restart := range []bool{false, true} {
			rules := model.NewRules(nil, model.Order{})
			l := learn.New(rules)
			gone := 0
			for _, s := range tt.steps {
				if restart {
					l = learn.New(rules)
				}
				for _, r := range l.Learn(s, 1) {
					if err := r.Validate(); err != nil {
						t.Errorf("%s: %v", tt.name, err)
					}
				}
				gone += len(l.TakeDeleted())
			}
			if d := cmp.Diff(brief(rules.All()), tt.want); d != "" {
				t.Errorf("%s: %s", tt.name, d)
			}
			if len(tt.want) == 1 && tt.want[0][:5] == "10002" && gone != 1 {
				t.Errorf("%s: %d rules deleted, want one", tt.name, gone)
			}
		}
	}
}

// TestOpenIsBounded: rules for any application do not become rules for any port.
func TestOpenIsBounded(t *testing.T) {
	rules := model.NewRules(nil, model.Order{})
	l := learn.New(rules)
	for p := range 2 * learn.MaxPorts {
		l.Learn([]learn.Connection{conn(func(c *learn.Connection) { c.Port, c.App, c.Idle = uint16(1000+p), app.Undecided, true })}, 1)
	}
	if got := rules.All(); len(got) != 1 || len(got[0].Ports) != learn.MaxPorts || got[0].Comment != learn.OpenComment {
		t.Errorf("got %v, %q", brief(got), got[0].Comment)
	}
}
