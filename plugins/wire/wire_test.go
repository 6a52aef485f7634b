package wire_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/plugins/wire"
)

// sample is a message with a record of every kind.
func sample() []byte {
	m := parsers.Meta{Client: netip.MustParseAddr("10.0.0.1"), Server: netip.MustParseAddr("10.0.0.2"), ClientPort: 4000, ServerPort: 80, Proto: 6, Midstream: true}
	b := wire.AppendOpen(nil, 1, &m)
	b = wire.Append(b, wire.Part, uint8(parsers.ToClient), 1, []byte("GE"))
	b = wire.Append(b, wire.Data, uint8(parsers.ToServer), 1, []byte("T / "))
	b = wire.AppendGap(b, 1, parsers.ToClient, -1)
	b = wire.Append(b, wire.End, 0, 1, nil)
	b = wire.Append(b, wire.Close, 0, 1, nil)
	b = wire.AppendState(b, 1, &detect.News{Outcome: detect.Decided, Ended: true, Strength: parsers.Certain, App: app.GRPC, Base: app.HTTP2, Side: detect.Exchanged, Renamed: 3, Seen: 7})
	b = wire.Append(b, wire.Attr, uint8(parsers.Host), 1, []byte("shop.example"))
	b = wire.AppendThreat(b, 1, 2011, strings.Repeat("x", 300))
	return wire.AppendExpect(b, 1, &announced)
}

// announced is a connection that a plugin announces.
var announced = parsers.Expectation{At: parsers.ToClient, Proto: 6, Port: 40001, Addr: netip.MustParseAddr("10.0.0.1"), App: app.FTPData, Long: true}

// TestExpectations: both families, and without an address; an application that is not listed is to be identified.
func TestExpectations(t *testing.T) {
	for _, e := range []parsers.Expectation{announced, {Proto: 17, Port: 1, App: app.Undecided}, {Proto: 6, Port: 65535, Addr: netip.MustParseAddr("fd00::1"), App: app.RTP}} {
		r, _, err := wire.Next(wire.AppendExpect(nil, 5, &e))
		if err != nil || r.Expectation() != e {
			t.Errorf("got %+v, %v, want %+v", r, err, e)
		}
	}
	own := announced
	own.App = app.FirstPlugin
	if r, _, err := wire.Next(wire.AppendExpect(nil, 5, &own)); err != nil || r.Expectation().App != app.Undecided {
		t.Errorf("got %+v, %v", r, err)
	}
	for _, bad := range []parsers.Expectation{{Proto: 1, Port: 1}, {Proto: 6}} {
		if _, _, err := wire.Next(wire.AppendExpect(nil, 5, &bad)); err == nil {
			t.Errorf("%+v was read", bad)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	b := sample()
	var kinds []string
	for len(b) > 0 {
		r, rest, err := wire.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		if r.Session != 1 {
			t.Errorf("%v: session %d, want 1", r.Kind, r.Session)
		}
		kinds = append(kinds, r.Kind.String())
		switch r.Kind {
		case wire.Open:
			if m := r.Meta(); m.Client.String() != "10.0.0.1" || m.Server.String() != "10.0.0.2" || m.ClientPort != 4000 || m.ServerPort != 80 || m.Proto != 6 || !m.Midstream {
				t.Errorf("meta %+v", m)
			}
		case wire.Gap:
			if r.Missing() != -1 {
				t.Errorf("%d missing, want -1", r.Missing())
			}
		case wire.State:
			if n := r.News(); n != (detect.News{Outcome: detect.Decided, Ended: true, Strength: parsers.Certain, App: app.GRPC, Base: app.HTTP2, Side: detect.Exchanged, Renamed: 3, Seen: 7}) {
				t.Errorf("news %+v", n)
			}
		case wire.Threat:
			if id, text := r.Threat(); id != 2011 || len(text) != wire.MaxValue {
				t.Errorf("threat %d of %d bytes", id, len(text))
			}
		}
		if r.Kind == wire.Expect && r.Expectation() != announced {
			t.Errorf("expectation %+v", r.Expectation())
		}
		b = rest
	}
	if got, want := strings.Join(kinds, " "), "open part data gap end close state attr threat expect"; got != want {
		t.Errorf("kinds %s, want %s", got, want)
	}
}

func TestAddressesKeepTheirFamily(t *testing.T) {
	for _, a := range []string{"10.1.2.3", "fd00::7"} {
		m := parsers.Meta{Client: netip.MustParseAddr(a), Server: netip.MustParseAddr(a), Proto: 17}
		r, _, err := wire.Next(wire.AppendOpen(nil, 9, &m))
		if err != nil || r.Meta() != m {
			t.Errorf("%s: got %+v (%v), want %+v", a, r.Meta(), err, m)
		}
	}
}

func TestMalformed(t *testing.T) {
	good := wire.Append(nil, wire.Data, 0, 1, []byte("abc"))
	change := func(at int, v byte) []byte { b := bytes.Clone(good); b[at] = v; return b }
	for name, b := range map[string][]byte{
		"empty": nil, "half a head": good[:9], "half a body": good[:len(good)-1], "no kind": change(0, 0), "a kind too far": change(0, 200),
		"a third direction": change(1, 2), "a huge body": change(7, 0xff), "close with a body": change(0, byte(wire.Close)), "open of 3 bytes": change(0, byte(wire.Open)),
		"state of 3 bytes": change(0, byte(wire.State)), "an attribute that is none": append(change(0, byte(wire.Attr))[:1:1], change(1, 250)[1:]...),
	} {
		if r, _, err := wire.Next(b); err == nil {
			t.Errorf("%s: read as %v", name, r.Kind)
		}
	}
}

// FuzzNext reads anything; what is read is within the message and can be written again.
func FuzzNext(f *testing.F) {
	f.Add(sample())
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			r, rest, err := wire.Next(b)
			if err != nil {
				return
			}
			if len(rest) >= len(b) || len(r.Body) > wire.MaxBody {
				t.Fatalf("%d bytes behind %d, body %d", len(rest), len(b), len(r.Body))
			}
			switch r.Kind {
			case wire.Open:
				_ = r.Meta()
			case wire.Gap:
				_ = r.Missing()
			case wire.State:
				_ = r.News()
			case wire.Threat:
				_, _ = r.Threat()
			case wire.Expect:
				_ = r.Expectation()
			}
			again, _, err := wire.Next(wire.Append(nil, r.Kind, r.Arg, r.Session, r.Body))
			if err != nil || again.Kind != r.Kind || !bytes.Equal(again.Body, r.Body) {
				t.Fatalf("%v does not survive writing: %v", r.Kind, err)
			}
			b = rest
		}
	})
}

// TestLeft: who is left of a session travels.
func TestLeft(t *testing.T) {
	for _, apps := range [][]app.ID{nil, {app.HTTP}, {app.HTTP, app.TLS, app.SSH, app.Redis, app.MySQL, app.DNS, app.GRPC, app.HTTP2}} {
		want := detect.News{Left: detect.Left{Known: true}}
		for _, a := range apps {
			want.Left.Add(a)
		}
		r, rest, err := wire.Next(wire.AppendState(nil, 3, &want))
		if err != nil || len(rest) != 0 {
			t.Fatalf("%v: %v, %d bytes left", apps, err, len(rest))
		}
		if got := r.News(); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}
