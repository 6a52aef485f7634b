package sdk

import (
	"net/netip"
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

// A session in mid-stream whose sides are taken for each other, and one whose name is withdrawn: the answers say so.
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

// panics is a parser that must not be.
type panics struct{}

func (panics) Name() string                                           { return "panics" }
func (panics) Probe(*parsers.Meta, parsers.Dir, []byte) parsers.Match { panic("no") }
func (panics) Open(*parsers.Meta, parsers.Sink) parsers.Stream        { return nil }

func TestPanicLosesItsSessionOnly(t *testing.T) {
	reg, err := Registry(Protocol{panics{}, TCP})
	if err != nil {
		t.Fatal(err)
	}
	news := feed(t, newTable(reg), wire.Append(wire.AppendOpen(nil, 1, &meta), wire.Data, 0, 1, []byte("x")))
	if len(news) != 1 || !news[0].Ended || news[0].App != app.Unknown {
		t.Errorf("news %+v, want unknown and ended", news)
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
