package detect_test

import (
	"bytes"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
)

// fake claims streams that begin with magic; answer is what its server sends first.
type fake struct {
	name          string
	magic, answer string
	strength      parsers.Match
	reject        bool
	waits         bool // returns More as long as possible
}

func (f *fake) Name() string { return f.name }

func (f *fake) Probe(_ *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	want := f.magic
	if dir == parsers.ToClient {
		want = f.answer
	}
	if f.waits {
		return parsers.More
	}
	n := min(len(want), len(head))
	switch {
	case want == "" || string(head[:n]) != want[:n]:
		return parsers.No
	case n < len(want):
		return parsers.More
	case f.strength == parsers.No:
		return parsers.Likely
	}
	return f.strength
}

func (f *fake) Open(_ *parsers.Meta, sink parsers.Sink) parsers.Stream {
	sink.Attr(parsers.Banner, []byte(f.name))
	return &fakeStream{f}
}

type fakeStream struct{ f *fake }

func (s *fakeStream) Parse(_ parsers.Dir, data []byte) parsers.Result {
	if s.f.reject {
		return parsers.Result{State: parsers.Rejected}
	}
	return parsers.Result{Used: len(data), State: parsers.Named}
}
func (s *fakeStream) Gap(parsers.Dir, int) bool { return true }
func (s *fakeStream) Close()                    {}

func registry(t *testing.T, list ...*fake) *parsers.Registry {
	t.Helper()
	r := &parsers.Registry{}
	for i, f := range list {
		if err := r.Add(f, app.ID(100+i), parsers.TCP|parsers.UDP); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// say is one message of one side.
type say struct {
	dir  parsers.Dir
	text string
}

// talk passes messages cut into pieces of n bytes, as a stream assembler would.
func talk(r *parsers.Registry, n int, messages ...say) *detect.Ident {
	d := &detect.Ident{}
	d.Reset(r, parsers.Meta{Proto: 6})
	var kept [2][]byte
	for _, m := range messages {
		for text := m.text; text != ""; {
			cut := min(n, len(text))
			kept[m.dir] = append(kept[m.dir], text[:cut]...)
			text = text[cut:]
			used := d.Data(m.dir, bytes.Clone(kept[m.dir]))
			kept[m.dir] = kept[m.dir][used:]
		}
	}
	return d
}

func TestIdentification(t *testing.T) {
	long := &fake{name: "long", magic: "GETKEY", answer: "VALUE"}
	short := &fake{name: "short", magic: "GET", answer: "VAL"}
	sure := &fake{name: "sure", magic: "GETKEY", strength: parsers.Certain}
	slow := &fake{name: "slow", waits: true}
	quitter := &fake{name: "quitter", magic: "GET", reject: true}
	server := &fake{name: "server", magic: "user", answer: "welcome"}
	tests := []struct {
		name     string
		parsers  []*fake
		talk     []say
		want     app.ID
		strength parsers.Match
		outcome  detect.Outcome
	}{
		{"one side is likely", []*fake{short}, []say{{0, "GETx"}}, 100, parsers.Likely, detect.Decided},
		{"both sides are certain", []*fake{short}, []say{{0, "GETx"}, {1, "VALUE"}}, 100, parsers.Certain, detect.Decided},
		{"ties go by order", []*fake{long, short}, []say{{0, "GETKEY"}}, 100, parsers.Likely, detect.Decided},
		{"ties go by order, reversed", []*fake{short, long}, []say{{0, "GETKEY"}}, 100, parsers.Likely, detect.Decided},
		{"the stronger claim wins", []*fake{short, sure}, []say{{0, "GETKEY"}}, 101, parsers.Certain, detect.Decided},
		{"no parser claims it", []*fake{short, long}, []say{{0, "PUT"}}, app.Unknown, parsers.No, detect.Decided},
		{"more is awaited", []*fake{short, slow}, []say{{0, "GETx"}}, app.Undecided, parsers.No, detect.Undecided},
		{"more is awaited until the other side sends", []*fake{short, slow}, []say{{0, "GETx"}, {1, "VAL"}}, 100, parsers.Certain, detect.Decided},
		{"a rejection is followed by the next claim", []*fake{quitter, short}, []say{{0, "GETx"}}, 101, parsers.Likely, detect.Decided},
		{"a rejection by the only claimant leaves it unknown", []*fake{quitter}, []say{{0, "GETx"}}, app.Unknown, parsers.No, detect.Decided},
		{"the server may speak first", []*fake{short, server}, []say{{1, "welcome"}}, 101, parsers.Likely, detect.Decided},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, n := range []int{1, 2, 3, 5, 100} {
				d := talk(registry(t, tt.parsers...), n, tt.talk...)
				if d.App != tt.want || d.Strength != tt.strength || d.Outcome() != tt.outcome {
					t.Errorf("pieces of %d: app %d, %s, outcome %d; want %d, %s, %d", n, d.App, d.Strength, d.Outcome(), tt.want, tt.strength, tt.outcome)
				}
			}
		})
	}
}

func TestEndAlwaysDecides(t *testing.T) {
	slow, short := &fake{name: "slow", waits: true}, &fake{name: "short", magic: "GET"}
	d := talk(registry(t, slow, short), 10, say{0, "GETx"})
	if d.End(); d.App != 101 || d.Wants() {
		t.Errorf("app %d, wants %v; want the likely one, and no more", d.App, d.Wants())
	}
	d = talk(registry(t, slow), 10, say{0, "GETx"})
	if d.End(); d.App != app.Unknown || d.Outcome() != detect.Decided {
		t.Errorf("app %d; want unknown", d.App)
	}
}

func TestDetailIsReportedOnce(t *testing.T) {
	d := talk(registry(t, &fake{name: "short", magic: "GET"}), 10, say{0, "GETx"})
	if got := d.Attrs.Detail().Get("banner"); got != "short" {
		t.Errorf("banner %q, want short", got)
	}
	if d.Attrs.Detail() != nil {
		t.Error("the same detail was reported twice")
	}
}

// Could depends on the parsers that have not rejected the session.
func TestCould(t *testing.T) {
	r := registry(t, &fake{name: "get", magic: "GET"}, &fake{name: "put", magic: "PUT"})
	if err := r.Add(&fake{name: "http", magic: "GO"}, app.HTTP, parsers.TCP); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		bytes string
		could map[app.ID]bool
	}{
		{"", map[app.ID]bool{100: true, 101: true, app.HTTP: true, app.WebSocket: true, app.DoT: false, app.Unknown: true, app.None: false}},
		{"G", map[app.ID]bool{100: true, 101: false, app.WebSocket: true, app.Unknown: true}},
		{"GE", map[app.ID]bool{100: true, 101: false, app.HTTP: false, app.WebSocket: false, app.Unknown: true}},
		{"GET", map[app.ID]bool{100: true, 101: false, app.Unknown: false}},
		{"X", map[app.ID]bool{100: false, app.Unknown: true}},
	}
	for _, tt := range tests {
		d := talk(r, 1, say{0, tt.bytes})
		for a, want := range tt.could {
			if got := d.Could(a); got != want {
				t.Errorf("after %q: could be %s: %v, want %v", tt.bytes, a, got, want)
			}
		}
	}
}
