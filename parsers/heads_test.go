package parsers_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// letters claims heads of three octets that are all a (client) or all b (server).
type letters struct{}

func (letters) Name() string { return "letters" }

func (letters) Probe(_ *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	for _, c := range head[:min(len(head), 3)] {
		if c != 'a'+byte(dir) {
			return parsers.No
		}
	}
	if len(head) < 3 {
		return parsers.More
	}
	return parsers.Likely
}

func (p letters) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (letters) Tell(_ *parsers.Meta, dir parsers.Dir, head []byte, sink parsers.Sink) {
	sink.Attr(parsers.Command+parsers.Attr(dir), head[:3])
}

type counter struct{ told int }

func (c *counter) App(app.ID)                   {}
func (c *counter) Attr(parsers.Attr, []byte)    { c.told++ }
func (c *counter) Threat(id uint16, why string) {}
func (c *counter) Expect(parsers.Expectation)   {}

func TestHeads(t *testing.T) {
	type step struct {
		dir  parsers.Dir
		data string
		want parsers.Result
	}
	const up, down = parsers.ToServer, parsers.ToClient
	tests := []struct {
		name  string
		proto uint8
		steps []step
		told  int
	}{
		{"both sides", 6, []step{{up, "aa", parsers.Result{State: parsers.Named}}, {up, "aaax", parsers.Result{Used: 4, State: parsers.Named}},
			{up, "more", parsers.Result{Used: 4, State: parsers.Named}}, {down, "bbb", parsers.Result{Used: 3, State: parsers.Done}}}, 2},
		{"other side contradicts", 6, []step{{up, "aaa", parsers.Result{Used: 3, State: parsers.Named}}, {down, "xxx", parsers.Result{State: parsers.Rejected}}}, 1},
		{"waits no longer than a head", 6, []step{{up, "aaa", parsers.Result{Used: 3, State: parsers.Named}},
			{down, "bb", parsers.Result{State: parsers.Named}}}, 1},
		{"odd datagram", 17, []step{{up, "aaa", parsers.Result{Used: 3, State: parsers.Named}}, {down, "x", parsers.Result{Used: 1, State: parsers.Named}},
			{down, "bbb", parsers.Result{Used: 3, State: parsers.Done}}}, 2},
		{"odd first datagram", 17, []step{{up, "x", parsers.Result{State: parsers.Rejected}}}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c counter
			s := letters{}.Open(&parsers.Meta{Proto: tt.proto}, &c)
			defer s.Close()
			for i, st := range tt.steps {
				if got := s.Parse(st.dir, []byte(st.data)); got != st.want {
					t.Errorf("step %d: got %+v want %+v", i, got, st.want)
				}
			}
			if c.told != tt.told {
				t.Errorf("reported: got %d want %d", c.told, tt.told)
			}
		})
	}
}
