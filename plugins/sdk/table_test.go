package sdk

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/builtin"
	"github.com/sluicenet/sluice/plugins/wire"
)

var meta = parsers.Meta{Client: netip.MustParseAddr("10.0.0.1"), Server: netip.MustParseAddr("10.0.0.2"), ClientPort: 4000, ServerPort: 80, Proto: 6}

// feed gives a message to a table; what it answers must be well formed.
func feed(t testing.TB, tab *table, b []byte) (news []detect.News) {
	t.Helper()
	for len(b) > 0 {
		r, rest, err := wire.Next(b)
		if err != nil {
			break
		}
		tab.handle(&r)
		b = rest
	}
	for out := tab.out; len(out) > 0; {
		r, rest, err := wire.Next(out)
		if err != nil || r.Kind < wire.State {
			t.Fatalf("an answer is malformed: %v %v", r.Kind, err)
		}
		if r.Kind == wire.State {
			news = append(news, r.News())
		}
		out = rest
	}
	tab.out = tab.out[:0]
	return news
}

func TestTable(t *testing.T) {
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	tab := newTable(reg)
	b := wire.AppendOpen(nil, 5, &meta)
	b = wire.Append(b, wire.Part, 0, 5, []byte("GET / HT"))
	if news := feed(t, tab, b); len(news) != 0 {
		t.Fatalf("news %+v after a part, want none", news)
	}
	news := feed(t, tab, wire.Append(nil, wire.Data, 0, 5, []byte("TP/1.1\r\nHost: a\r\n\r\n")))
	if len(news) != 1 || news[0].App != app.HTTP || news[0].Outcome != detect.Decided || news[0].Seen != 1 {
		t.Fatalf("news %+v, want http, decided, one piece seen", news)
	}
	news = feed(t, tab, wire.Append(nil, wire.End, 0, 5, nil))
	if len(news) != 1 || !news[0].Ended || len(tab.sessions) != 0 || tab.buffered != 0 {
		t.Fatalf("news %+v, %d sessions, %d bytes; want ended and nothing left", news, len(tab.sessions), tab.buffered)
	}
}

// A session in mid-stream whose sides are taken for each other, and one whose name is withdrawn: the answers show it.
func TestSideAndWithdrawnName(t *testing.T) {
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	tab := newTable(reg)
	mid := meta
	mid.Midstream = true
	news := feed(t, tab, wire.Append(wire.AppendOpen(nil, 5, &mid), wire.Data, 1, 5, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")))
	if len(news) != 1 || news[0].App != app.HTTP || news[0].Side != detect.Exchanged {
		t.Errorf("news %+v, want http with the sides exchanged", news)
	}
	news = feed(t, tab, wire.Append(wire.AppendOpen(nil, 6, &meta), wire.Data, 1, 6, []byte("220 FTP gateway\r\n")))
	if len(news) != 1 || news[0].App != app.FTP || news[0].Renamed != 0 {
		t.Fatalf("news %+v, want ftp", news)
	}
	news = feed(t, tab, wire.Append(nil, wire.Data, 0, 6, []byte("HELO a\r\n")))
	if n := len(news); n == 0 || news[n-1].Renamed != 1 {
		t.Fatalf("news %+v, want a name withdrawn", news)
	}
	news = append(news, feed(t, tab, wire.Append(wire.Append(nil, wire.Data, 1, 6, []byte("250 ok\r\n")), wire.End, 0, 6, nil))...)
	if last := news[len(news)-1]; last.App != app.SMTP || last.Strength != parsers.Likely || last.Renamed != 1 || !last.Ended {
		t.Errorf("news %+v, want smtp, likely", last)
	}
}

// panics is a parser that panics where its name is called.
type panics struct{ in string }

func (panics) Name() string { return "panics" }

func (p panics) Probe(_ *parsers.Meta, _ parsers.Dir, head []byte) parsers.Match {
	switch p.in {
	case "probe":
		return parsers.Match(head[len(head)]) // out of range
	case "more":
		return parsers.More
	}
	return parsers.Likely
}

func (p panics) Open(*parsers.Meta, parsers.Sink) parsers.Stream {
	if p.in == "open" {
		panic("open")
	}
	return p
}

func (p panics) Parse(_ parsers.Dir, data []byte) parsers.Result {
	if p.in == "parse" || p.in == "parse and close" {
		panic("parse")
	}
	return parsers.Result{Used: len(data), State: parsers.Named}
}

func (p panics) Gap(parsers.Dir, int) bool {
	if p.in == "gap" {
		panic("gap")
	}
	return true
}

func (p panics) Close() {
	if p.in == "parse and close" || p.in == "close" {
		panic("close")
	}
}

// TestPanics checks that a parser's panic ends its session alone, as lost where it has no name yet, and is counted.
func TestPanics(t *testing.T) {
	tests := map[string]struct {
		lost   bool
		panics uint32
	}{"probe": {true, 1}, "open": {true, 1}, "parse": {false, 1}, "parse and close": {false, 2}, "gap": {false, 1}, "close": {false, 2}}
	for in, want := range tests {
		t.Run(in, func(t *testing.T) {
			reg, err := Registry(Protocol{panics{in}, TCP})
			if err != nil {
				t.Fatal(err)
			}
			tab := newTable(reg)
			b := wire.Append(wire.AppendOpen(nil, 1, &meta), wire.Data, 0, 1, []byte("x"))
			news := feed(t, tab, wire.Append(wire.AppendGap(b, 1, parsers.ToServer, 3), wire.End, 0, 1, nil))
			if len(news) == 0 {
				t.Fatal("no answer")
			}
			last := news[len(news)-1]
			if !last.Ended || last.Lost != want.lost || (last.App == app.Unknown) != want.lost {
				t.Errorf("%+v, want ended and lost %v, else with its name", last, want.lost)
			}
			if tab.panics != want.panics || len(tab.sessions) != 0 {
				t.Errorf("%d panics and %d sessions left, want %d and none", tab.panics, len(tab.sessions), want.panics)
			}
			if !strings.Contains(tab.panicked, "table_test.go:") || !strings.Contains(tab.panicked, "sdk.panics.") {
				t.Errorf("the panic is described as %q, want its place", tab.panicked)
			}
			// The next session finds the table as it was.
			news = feed(t, tab, wire.AppendOpen(nil, 2, &meta))
			if len(news) != 0 || len(tab.sessions) != 1 {
				t.Errorf("news %+v and %d sessions of the next one, want none and 1", news, len(tab.sessions))
			}
		})
	}
}

// TestNoRoomIsLost checks that a session for whose bytes there is no room is lost, not unknown.
func TestNoRoomIsLost(t *testing.T) {
	reg, err := Registry(Protocol{panics{"more"}, TCP})
	if err != nil {
		t.Fatal(err)
	}
	tab := newTable(reg)
	var news []detect.News
	b := wire.AppendOpen(nil, 1, &meta)
	for range maxPending/wire.MaxBody + 1 {
		news = append(news, feed(t, tab, wire.Append(b, wire.Data, 0, 1, make([]byte, wire.MaxBody)))...)
		b = nil
	}
	if len(news) != 1 || !news[0].Lost || !news[0].Ended {
		t.Errorf("news %+v, want lost and ended", news)
	}
}

func TestRegistryRefuses(t *testing.T) {
	for name, p := range map[string][]Protocol{"none": nil, "no parser": {{nil, TCP}}, "no transport": {{panics{}, 0}}, "twice": {{panics{}, TCP}, {panics{}, TCP}}} {
		if _, err := Registry(p...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzTable gives any message to a plugin: its answers are well formed and its memory bounded.
func FuzzTable(f *testing.F) {
	reg, err := builtin.Registry()
	if err != nil {
		f.Fatal(err)
	}
	b := wire.AppendOpen(nil, 1, &meta)
	b = wire.Append(b, wire.Data, 0, 1, []byte("*1\r\n$4\r\nPING\r\n"))
	b = wire.AppendGap(b, 1, parsers.ToClient, 10)
	b = wire.Append(b, wire.Data, 1, 1, []byte("+PONG\r\n"))
	f.Add(wire.Append(b, wire.End, 0, 1, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		tab := newTable(reg)
		feed(t, tab, b)
		if tab.buffered < 0 || tab.buffered > len(b) {
			t.Fatalf("%d bytes buffered of %d", tab.buffered, len(b))
		}
		for _, s := range tab.sessions {
			tab.drop(s)
		}
		if tab.buffered != 0 {
			t.Fatalf("%d bytes buffered without a session", tab.buffered)
		}
	})
}

// announcer is a protocol whose clients announce a port of theirs in their first line.
type announcer struct{}

func (announcer) Name() string { return "ftp" }

func (announcer) Probe(_ *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	if dir == parsers.ToServer && len(head) > 0 && head[0] == 'X' {
		return parsers.Likely
	}
	return parsers.No
}

func (announcer) Open(_ *parsers.Meta, sink parsers.Sink) parsers.Stream { return announcing{sink} }

type announcing struct{ sink parsers.Sink }

func (a announcing) Parse(parsers.Dir, []byte) parsers.Result {
	for port := range uint16(maxExpected + 3) {
		a.sink.Expect(parsers.Expectation{At: parsers.ToClient, Proto: 6, Port: 40000 + port, App: app.FTPData})
	}
	return parsers.Result{Used: 1, State: parsers.Done}
}
func (announcing) Gap(parsers.Dir, int) bool { return true }
func (announcing) Close()                    {}

// TestExpectations: what a plugin's parser announces reaches the host behind the name, and is bounded.
func TestExpectations(t *testing.T) {
	reg, err := Registry(Protocol{announcer{}, TCP})
	if err != nil {
		t.Fatal(err)
	}
	tab := newTable(reg)
	for _, b := range [][]byte{wire.AppendOpen(nil, 5, &meta), wire.Append(nil, wire.Data, 0, 5, []byte("X"))} {
		r, _, err := wire.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		tab.handle(&r)
	}
	var kinds []wire.Kind
	for out := tab.out; len(out) > 0; {
		r, rest, err := wire.Next(out)
		if err != nil {
			t.Fatal(err)
		}
		if kinds = append(kinds, r.Kind); r.Kind == wire.Expect {
			if e := r.Expectation(); e.At != parsers.ToClient || e.App != app.FTPData || e.Port != 40000+uint16(len(kinds)-2) {
				t.Errorf("expectation %+v", e)
			}
		}
		out = rest
	}
	if len(kinds) != 1+maxExpected || kinds[0] != wire.State {
		t.Errorf("%d records, the first %v", len(kinds), kinds[0])
	}
}
