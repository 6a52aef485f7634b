package http2_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/http2"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

// blind keeps nothing.
type blind struct{}

func (blind) App(app.ID)                 {}
func (blind) Attr(parsers.Attr, []byte)  {}
func (blind) Threat(uint16, string)      {}
func (blind) Expect(parsers.Expectation) {}

// TestPreamble holds what a held session depends on: what a client says before it waits for
// the server is Preamble, a request that is not whole is Undecided, a whole one Named.
func TestPreamble(t *testing.T) {
	cases, err := parsertest.Load("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for i := range cases {
		if c := &cases[i]; c.Name == "grpc" {
			s := http2.New().Open(&c.Meta, blind{})
			defer s.Close()
			want := []parsers.State{parsers.Preamble, parsers.Preamble, parsers.Preamble, parsers.Preamble, parsers.Named}
			for j, w := range want {
				m := c.Messages[j]
				if w == parsers.Named {
					half := m.Data[:30] // the ACK and a part of HEADERS
					r := s.Parse(m.Dir, half)
					if r.State != parsers.Undecided {
						t.Errorf("a part of the request: got state %d want %d", r.State, parsers.Undecided)
					}
					m.Data = m.Data[r.Used:]
				}
				if r := s.Parse(m.Dir, m.Data); r.State != w {
					t.Errorf("message %d: got state %d want %d", j, r.State, w)
				}
			}
			return
		}
	}
	t.Fatal("no case grpc")
}
