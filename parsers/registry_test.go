package parsers_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// alone is a parser each datagram of which shows it, layer one of a protocol that others run over.
type (
	alone struct{ letters }
	layer struct{ letters }
)

func (alone) Standalone() {}
func (layer) Layered()    {}

// TestShows: what shows in any datagram is that of parsers that declare it, and what no parser finds in datagrams.
func TestShows(t *testing.T) {
	r := &parsers.Registry{}
	for _, e := range []struct {
		p  parsers.Parser
		id app.ID
		on parsers.Transport
	}{{alone{}, app.DNS, parsers.TCP | parsers.UDP}, {letters{}, app.QUIC, parsers.UDP}, {letters{}, app.HTTP2, parsers.UDP}, {letters{}, app.Redis, parsers.TCP}} {
		if err := r.Add(e.p, e.id, e.on); err != nil {
			t.Fatal(err)
		}
	}
	const plugin = app.FirstPlugin + 5
	for a, want := range map[app.ID]bool{app.DNS: true, app.QUIC: false, app.Redis: true, app.NTP: true, app.HTTP2: false, app.GRPC: false, plugin: true} {
		if got := r.Shows(a); got != want {
			t.Errorf("%s: got %v, want %v", a, got, want)
		}
	}
	if err := r.Add(layer{}, app.TLS, parsers.UDP); err != nil {
		t.Fatal(err)
	}
	if r.Shows(plugin) {
		t.Error("an application that a plugin names may run over any protocol that carries others")
	}
}

// TestContinues: of each built-in parser of datagrams it is known what its later ones may be, also where it runs
// elsewhere.
func TestContinues(t *testing.T) {
	whole, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	local, err := builtin.Local()
	if err != nil {
		t.Fatal(err)
	}
	m := &parsers.Meta{Proto: 17, ClientPort: 40000, ServerPort: 9000, Midstream: true}
	for _, n := range whole.For(17) {
		e := whole.Entry(n)
		later := whole.Later(e.ID)
		if whole.Shows(e.ID) == (later != nil) {
			t.Errorf("%s shows in any datagram: %v, judges later ones: %v; want one of them", e.Parser.Name(), whole.Shows(e.ID), later != nil)
		}
		if (local.Later(e.ID) == nil) != (later == nil) {
			t.Errorf("%s says nothing where it runs elsewhere", e.Parser.Name())
		}
		if later != nil && later.Continues(m, []byte("<- no message of any kind")) {
			t.Errorf("%s may be anything", e.Parser.Name())
		}
	}
	if !local.Continues(m, []byte("\r\n\r\n")) || local.Continues(m, []byte("<- no message of any kind")) {
		t.Error("what continues any of them is not what continues one")
	}
}
