package detect_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
)

// talker is a protocol in which clients send "ASK x" and servers "ANS x"; either may send
// "HUM".
type talker struct{}

func (talker) Name() string { return "talker" }

func (talker) Probe(_ *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	for _, word := range []string{[]string{"ASK ", "ANS "}[dir], "HUM "} {
		if n := min(len(head), len(word)); string(head[:n]) == word[:n] {
			if n < len(word) {
				return parsers.More
			}
			return parsers.Likely
		}
	}
	return parsers.No
}

func (p talker) Part(m *parsers.Meta, head []byte) parsers.Part {
	return parsers.PartByProbe(p, m, head)
}

func (talker) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return &talkerStream{sink: sink, client: m.ClientPort}
}

// talkerStream reports who asks, by the sides that it was given.
type talkerStream struct {
	sink   parsers.Sink
	client uint16
}

func (s *talkerStream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	if dir == parsers.ToServer && bytes.HasPrefix(data, []byte("ASK ")) {
		s.sink.Attr(parsers.Command, data[4:])
		s.sink.Attr(parsers.User, []byte{byte(s.client)})
	}
	return parsers.Result{Used: len(data), State: parsers.Named}
}
func (s *talkerStream) Gap(parsers.Dir, int) bool { return true }
func (s *talkerStream) Close()                    {}

// guessed is a session whose client is a guess.
func guessed(t *testing.T, v6 bool, proto uint8) *detect.Ident {
	t.Helper()
	r := &parsers.Registry{}
	if err := r.Add(talker{}, 100, parsers.TCP|parsers.UDP); err != nil {
		t.Fatal(err)
	}
	m := parsers.Meta{Proto: proto, Midstream: true, Client: netip.MustParseAddr("192.0.2.1"), Server: netip.MustParseAddr("192.0.2.2"), ClientPort: 1, ServerPort: 2}
	if v6 {
		m.Client, m.Server = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	}
	d := &detect.Ident{}
	d.Reset(r, m)
	return d
}

func TestSides(t *testing.T) {
	tests := []struct {
		name     string
		talk     []say
		side     detect.Side
		strength parsers.Match
		command  string
	}{
		{"the client asks", []say{{0, "ASK a"}}, detect.AsAssumed, parsers.Likely, "a"},
		{"the server answers", []say{{1, "ANS a"}}, detect.AsAssumed, parsers.Likely, ""},
		{"the assumed server asks", []say{{1, "ASK a"}}, detect.Exchanged, parsers.Likely, "a"},
		{"and is answered", []say{{1, "ASK a"}, {0, "ANS b"}}, detect.Exchanged, parsers.Certain, "a"},
		{"the assumed client answers", []say{{0, "ANS a"}, {1, "ASK b"}}, detect.Exchanged, parsers.Certain, "b"},
		{"either side may send it", []say{{0, "HUM a"}}, detect.UnknownSide, parsers.Likely, ""},
		{"the other side determines it", []say{{0, "HUM a"}, {1, "ASK b"}}, detect.Exchanged, parsers.Certain, "b"},
		{"one side is in the middle of a message", []say{{0, "middle"}, {1, "ASK b"}}, detect.Exchanged, parsers.Likely, "b"},
	}
	for _, tt := range tests {
		for _, v6 := range []bool{false, true} {
			for _, proto := range []uint8{6, 17} {
				d := guessed(t, v6, proto)
				for _, m := range tt.talk {
					d.Data(m.dir, []byte(m.text))
				}
				if proto == 17 && tt.talk[0].text == "middle" {
					continue // datagrams have no middle
				}
				if d.App != 100 || d.Side() != tt.side || d.Strength != tt.strength {
					t.Errorf("%s, protocol %d: app %d, side %s, %s; want side %s, %s", tt.name, proto, d.App, d.Side(), d.Strength, tt.side, tt.strength)
				}
				detail := d.Attrs.Detail()
				if got := detail.Get("command"); got != tt.command {
					t.Errorf("%s, protocol %d: command %q, want %q", tt.name, proto, got, tt.command)
				}
				if got, want := detail.Get("user"), string([]byte{1 + byte(tt.side)/2}); tt.command != "" && got != want {
					t.Errorf("%s, protocol %d: asked by port %q, want %q", tt.name, proto, got, want)
				}
			}
		}
	}
}

// After Exchange the session's directions are the other way round, and so is what is known.
func TestExchange(t *testing.T) {
	d := guessed(t, false, 6)
	d.Data(1, []byte("ASK a"))
	d.Exchange()
	if d.Side() != detect.AsAssumed || d.Meta.ClientPort != 2 {
		t.Errorf("side %s, client port %d; want as assumed, 2", d.Side(), d.Meta.ClientPort)
	}
	if d.Data(1, []byte("ANS b")); d.Strength != parsers.Certain || d.Side() != detect.AsAssumed {
		t.Errorf("%s, side %s; want certain, as assumed", d.Strength, d.Side())
	}
}

// The reports of a withdrawn parser are discarded with its name; the session goes to the
// other parser that claims the same bytes, however they were cut.
func TestWithdrawn(t *testing.T) {
	fickle := &fake{name: "fickle", answer: "220 ", magic: "USER"}
	steady := &fake{name: "steady", answer: "220 steady", magic: "HELO"}
	for _, n := range []int{1, 3, 100} {
		d := &detect.Ident{}
		r := &parsers.Registry{}
		for i, p := range []parsers.Parser{heads{fickle}, heads{steady}} {
			if err := r.Add(p, app.ID(100+i), parsers.TCP); err != nil {
				t.Fatal(err)
			}
		}
		d.Reset(r, parsers.Meta{Proto: 6})
		feed(d, n, say{1, "220 whatever"})
		if d.App != 100 || d.Attrs.Len() == 0 {
			t.Fatalf("pieces of %d: app %d with %d attributes, want fickle's", n, d.App, d.Attrs.Len())
		}
		feed(d, n, say{0, "HELO a"})
		if d.App != 101 || d.Base != 101 || d.Strength != parsers.Likely || d.Attrs.Len() != 0 || d.News(0).Renamed != 1 {
			t.Errorf("pieces of %d: app %d, %s, %d attributes, withdrawn %d; want steady, likely, none, 1", n, d.App, d.Strength, d.Attrs.Len(), d.News(0).Renamed)
		}
		if detail := d.Attrs.Detail(); detail == nil || len(detail.Attrs) != 0 {
			t.Errorf("pieces of %d: detail %v, want one without attributes", n, detail)
		}
	}
}

// heads makes a Teller's stream of a fake, which reports its name.
type heads struct{ *fake }

func (h heads) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(h, m, sink)
}

func (h heads) Tell(_ *parsers.Meta, _ parsers.Dir, _ []byte, sink parsers.Sink) {
	sink.Attr(parsers.Banner, []byte(h.name))
}

// feed continues talk on a session.
func feed(d *detect.Ident, n int, m say) {
	var kept []byte
	for text := m.text; text != ""; {
		cut := min(n, len(text))
		kept = append(kept, text[:cut]...)
		text = text[cut:]
		kept = kept[d.Data(m.dir, bytes.Clone(kept)):]
	}
}

// layeredFake never names the application over it.
type layeredFake struct{ *fake }

func (layeredFake) Layered() {}

func (l layeredFake) Open(*parsers.Meta, parsers.Sink) parsers.Stream { return openStream{} }

type openStream struct{}

func (openStream) Parse(_ parsers.Dir, data []byte) parsers.Result {
	return parsers.Result{Used: len(data), State: parsers.Undecided}
}
func (openStream) Gap(parsers.Dir, int) bool { return true }
func (openStream) Close()                    {}

// What is named at a limit is not certain: the application over it was not seen.
func TestBaseAtLimitIsLikely(t *testing.T) {
	r := &parsers.Registry{}
	if err := r.Add(layeredFake{&fake{name: "base", magic: "GET", answer: "VAL"}}, 100, parsers.TCP); err != nil {
		t.Fatal(err)
	}
	d := talk(r, 10, say{0, "GETx"}, say{1, "VALUE"})
	if d.End(); d.App != 100 || d.Strength != parsers.Likely {
		t.Errorf("app %d, %s; want the base, likely", d.App, d.Strength)
	}
}

// Datagrams are bounded by their bytes, not their number; the one that goes beyond is still read.
func TestDatagramsEndByBytes(t *testing.T) {
	r := registry(t, &fake{name: "slow", waits: true})
	d := &detect.Ident{}
	d.Reset(r, parsers.Meta{Proto: 17})
	piece := []byte(strings.Repeat("x", 100))
	n := 0
	for ; d.Wants(); n++ {
		d.Data(0, piece)
	}
	if want := detect.MaxBytes/len(piece) + 2; n != want {
		t.Errorf("ended after %d datagrams of %d bytes, want %d", n, len(piece), want)
	}
}
