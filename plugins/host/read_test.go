package host

import (
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/plugins/wire"
)

// received keeps what an asker reports.
type received struct{ news map[uint32]detect.News }

func (h received) News(owner uint32, n detect.News) { h.news[owner] = n }
func (received) Found(uint32, parsers.Attr, []byte) {}
func (received) Expect(uint32, parsers.Expectation) {}
func (received) Threat(uint32, uint16, string)      {}

// asked is an asker with two plugins that have one session, without processes.
func asked() (*asker, []*live, uint64) {
	h := &Host{askers: map[*asker]bool{}}
	set := []*process{{h: h}, {h: h}}
	h.set.Store(&set)
	a := newAsker(h, func() {})
	var lives []*live
	for _, k := range a.links {
		k.p.tcp.Store(true)
		l := &live{p: k.p, streams: map[*stream]bool{}, failed: make(chan error, 1)}
		l.apps.Store(&map[app.ID]app.ID{app.HTTP: app.HTTP, app.FirstPlugin: 12345})
		lives = append(lives, l)
		k.p.live.Store(l)
		k.stream.Store(&stream{live: l})
	}
	m := parsers.Meta{Client: netip.MustParseAddr("10.0.0.1"), Server: netip.MustParseAddr("10.0.0.2"), Proto: 6}
	n, _ := a.Open(&m, 3)
	a.Data(n, parsers.ToServer, []byte("GET /"))
	return a, lives, n
}

func TestStrongestClaimWins(t *testing.T) {
	likely := detect.News{Outcome: detect.Decided, Strength: parsers.Likely, App: app.HTTP, Base: app.HTTP, Seen: 1}
	own := detect.News{Outcome: detect.Decided, Strength: parsers.Likely, App: app.FirstPlugin, Base: app.FirstPlugin, Seen: 1}
	sure := own
	sure.Strength = parsers.Certain
	none := detect.News{Outcome: detect.Decided, Ended: true}
	cases := map[string]struct {
		first, second detect.News
		want          app.ID
	}{
		"equals: the first":        {likely, own, app.HTTP},
		"the surer":                {likely, sure, 12345},
		"the only one":             {none, own, 12345},
		"nobody":                   {none, none, app.Unknown},
		"one waits for the other":  {likely, detect.News{}, app.Undecided},
		"a sure one does not wait": {detect.News{}, sure, 12345},
	}
	for name, c := range cases {
		for _, order := range [][2]int{{0, 1}, {1, 0}} {
			a, lives, n := asked()
			h := received{map[uint32]detect.News{}}
			for _, i := range order {
				if news := [2]detect.News{c.first, c.second}[i]; news.Outcome == detect.Decided {
					if err := a.read(a.links[i], lives[i], wire.AppendState(nil, n, &news), h); err != nil {
						t.Fatal(err)
					}
				}
			}
			got := app.Undecided
			if x, ok := h.news[3]; ok && x.Outcome == detect.Decided {
				got = x.App
			}
			if got != c.want {
				t.Errorf("%s, plugin %d first: app %v, want %v", name, order[0], got, c.want)
			}
		}
	}
}

// FuzzAnswers takes anything for a plugin's answer.
func FuzzAnswers(f *testing.F) {
	b := wire.Append(nil, wire.Attr, uint8(parsers.Host), 1, []byte("a"))
	b = wire.AppendThreat(b, 1, 2011, "text")
	f.Add(wire.AppendState(b, 1, &detect.News{Outcome: detect.Decided, Strength: parsers.Certain, App: app.HTTP, Base: app.HTTP}))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, lives, n := asked()
		h := received{map[uint32]detect.News{}}
		err := a.read(a.links[0], lives[0], b, h)
		if x, ok := h.news[3]; ok && x.Outcome == detect.Decided && x.App != app.Unknown {
			if _, listed := app.Listed(x.App); !listed && x.App != 12345 {
				t.Fatalf("application %d was believed (%v)", x.App, err)
			}
		}
		a.Close(n)
		if len(a.sessions.by) != 0 || a.sessions.logs != 0 {
			t.Fatalf("%d sessions and %d bytes left", len(a.sessions.by), a.sessions.logs)
		}
	})
}
