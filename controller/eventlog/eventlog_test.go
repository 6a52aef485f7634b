package eventlog_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/eventlog"
	"github.com/sluicenet/sluice/controller/filter"
	"github.com/sluicenet/sluice/internal/vocab"
)

// lab is a Log with a clock of its own.
type lab struct {
	*eventlog.Log
	now time.Time
}

func newLab(cfg eventlog.Config) *lab {
	l := &lab{now: time.Unix(1000, 0)}
	cfg.Now = func() time.Time { return l.now }
	l.Log = eventlog.New(cfg)
	return l
}

func (l *lab) pass(d time.Duration) {
	l.now = l.now.Add(d)
	l.Flush()
}

// report is what an end reports of a TCP connection from client port 40000, as a test changes it.
type change func(*eventlog.Report)

func report(change ...change) *eventlog.Report {
	r := &eventlog.Report{
		Key:    eventlog.Key{Client: netip.MustParseAddr("10.0.0.1"), Server: netip.MustParseAddr("10.0.0.2"), ClientPort: 40000, ServerPort: 80, Proto: 6},
		Egress: true, Leads: true, Sessions: 1, Ended: 1, Began: 5,
		Entry: &eventlog.Entry{Share: "web", Event: &controlv1.Event{Stamp: 10, From: "web", To: "api", Reporter: "web", App: "http", BytesOut: 100, BytesIn: 1000,
			Verdict: controlv1.Verdict_VERDICT_ALLOW, Outcome: controlv1.Outcome_OUTCOME_CLOSED}},
	}
	for _, f := range change {
		f(r)
	}
	r.End = &controlv1.EndVerdict{Workload: r.Entry.Event.Reporter, Verdict: r.Entry.Event.Verdict, Rule: r.Entry.Event.Rule}
	return r
}

func server(r *eventlog.Report) { r.Egress, r.Leads, r.Entry.Event.Reporter = false, false, "api" }
func open(r *eventlog.Report) {
	r.Ended, r.Entry.Event.Outcome = 0, controlv1.Outcome_OUTCOME_ESTABLISHED
}
func over(r *eventlog.Report)   { r.Ended = 0 }
func end(r *eventlog.Report)    { r.Sessions, r.Entry.Event.Stamp = 0, 50 }
func update(r *eventlog.Report) { r.Sessions, r.Ended = 0, 0 }
func deny(r *eventlog.Report)   { r.Entry.Event.Verdict = controlv1.Verdict_VERDICT_DENY }
func violate(r *eventlog.Report) {
	r.Entry.Event.Verdict = controlv1.Verdict_VERDICT_VIOLATE
}
func port(n uint16) change { return func(r *eventlog.Report) { r.ClientPort = n } }
func stamp(n int64) change { return func(r *eventlog.Report) { r.Entry.Event.Stamp = n } }
func several(n uint64) change {
	return func(r *eventlog.Report) { r.Sessions, r.Ended, r.ClientPort = n, n, 0 }
}

// brief is an event in one line.
func brief(e *controlv1.Event) string {
	ends := make([]string, 2)
	for i, v := range []*controlv1.EndVerdict{e.ClientEnd, e.ServerEnd} {
		if ends[i] = vocab.Text(v.GetVerdict()); v == nil {
			ends[i] = "-"
		}
	}
	return fmt.Sprintf("%s %s by %s (%s) x%d %d bytes at %d", vocab.Text(e.Kind), vocab.Text(e.Verdict), e.Reporter, strings.Join(ends, ", "), e.Sessions, e.BytesOut+e.BytesIn, e.Stamp)
}

func kept(t *testing.T, l *lab) (out []string) {
	t.Helper()
	p, err := l.List(eventlog.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range p.Events {
		out = append(out, brief(e))
	}
	return out
}

// TestJoin: one connection is one event, whatever its ends report, in whatever order.
func TestJoin(t *testing.T) {
	type step struct {
		report []change
		pass   time.Duration
	}
	in := func(c ...change) step { return step{report: c} }
	wait := step{pass: 2 * time.Second}
	tests := []struct {
		name string
		in   []step
		want []string
	}{
		{"a short one", []step{in()}, []string{"ended allow by web (allow, -) x1 1100 bytes at 10"}},
		{"both ends", []step{in(), in(server)}, []string{"ended allow by web (allow, allow) x1 1100 bytes at 10"}},
		{"the server's end first", []step{in(server, stamp(9)), in()}, []string{"ended allow by web (allow, allow) x1 1100 bytes at 9"}},
		{"the server's end late", []step{in(), wait, in(server)}, []string{"ended allow by web (allow, -) x1 1100 bytes at 10"}},
		{"open when the others of its kind were over, and ended with them", []step{in(open, port(1)), in(several(29), over), in(several(30), end)},
			[]string{"ended allow by web (allow, -) x30 1100 bytes at 50"}},
		{"over with the others, and ended alone", []step{in(several(2), over), in(port(1), over), in(port(1), end), in(port(2), open), wait, in(several(2), end)},
			[]string{"opened allow by web (allow, -) x1 1100 bytes at 10", "ended allow by web (allow, -) x1 2200 bytes at 50", "ended allow by web (allow, -) x2 1100 bytes at 50"}},
		{"the client's end late", []step{in(server), wait, in()}, []string{"ended allow by api (-, allow) x1 1100 bytes at 10"}},
		{"only the server's end", []step{in(server)}, []string{"ended allow by api (-, allow) x1 1100 bytes at 10"}},
		{"a lasting one", []step{in(open), wait, in(update), wait, in(end)},
			[]string{"opened allow by web (allow, -) x1 1100 bytes at 10", "ended allow by web (allow, -) x1 3300 bytes at 50"}},
		{"a lasting one of both ends", []step{in(open), in(server, open), wait, in(server, end), in(end)},
			[]string{"opened allow by web (allow, allow) x1 1100 bytes at 10", "ended allow by web (allow, allow) x1 2200 bytes at 50"}},
		{"one that is short after all", []step{in(open), in(end)}, []string{"ended allow by web (allow, -) x1 2200 bytes at 50"}},
		{"packets after the end", []step{in(), wait, in(update)}, []string{"ended allow by web (allow, -) x1 1100 bytes at 10"}},
		{"refused", []step{in(deny)}, []string{"violation deny by web (deny, -) x1 1100 bytes at 10"}},
		{"refused, then its end", []step{in(deny, open), wait, in(deny, end)}, []string{"violation deny by web (deny, -) x1 1100 bytes at 10"}},
		{"refused by the server's end", []step{in(), in(server, deny)}, []string{"violation deny by api (allow, deny) x1 1100 bytes at 10"}},
		{"that one first", []step{in(server, deny), in()}, []string{"violation deny by api (allow, deny) x1 1100 bytes at 10"}},
		{"both would refuse", []step{in(violate), in(server, violate)}, []string{"violation violate by web (violate, violate) x1 1100 bytes at 10"}},
		{"that of the server first", []step{in(server, violate), in(violate)}, []string{"violation violate by web (violate, violate) x1 1100 bytes at 10"}},
		{"the stricter end decides", []step{in(violate), in(server, deny)}, []string{"violation deny by api (violate, deny) x1 1100 bytes at 10"}},
		{"the other end's violation late", []step{in(violate), wait, in(server, violate)}, []string{"violation violate by web (violate, -) x1 1100 bytes at 10"}},
		{"violates once its application is known", []step{in(open), wait, in(update, violate), wait, in(end, violate)},
			[]string{"opened allow by web (allow, -) x1 1100 bytes at 10", "violation violate by web (violate, -) x1 2200 bytes at 10"}},
		{"refused a moment after it was opened", []step{in(open), in(update, deny, stamp(40))}, []string{"violation deny by web (deny, -) x1 2200 bytes at 40"}},
		{"violates, and refused a moment later", []step{in(open, violate), in(update, deny, stamp(40))}, []string{"violation deny by web (deny, -) x1 2200 bytes at 40"}},
		{"violates, and refused when that was shown", []step{in(open, violate), wait, in(update, deny, stamp(40))},
			[]string{"violation violate by web (violate, -) x1 1100 bytes at 10", "violation deny by web (deny, -) x1 2200 bytes at 40"}},
		{"refused by both ends a moment after it was opened", []step{in(open, violate), in(server, open, violate), in(update, deny, stamp(40)), in(server, update, deny, stamp(41))},
			[]string{"violation deny by web (deny, deny) x1 2200 bytes at 40"}},
		{"stays refused when the mode changes", []step{in(deny, open), in(update)}, []string{"violation deny by web (deny, -) x1 2200 bytes at 10"}},
		{"in the order of time", []step{in(stamp(30), port(1)), in(stamp(20), port(2)), in(stamp(10), port(3))}, []string{
			"ended allow by web (allow, -) x1 1100 bytes at 10", "ended allow by web (allow, -) x1 1100 bytes at 20", "ended allow by web (allow, -) x1 1100 bytes at 30"}},
		{"a port used again", []step{in(), in()}, []string{"ended allow by web (allow, -) x1 1100 bytes at 10", "ended allow by web (allow, -) x1 1100 bytes at 10"}},
		{"a port used again later by both ends", []step{in(), in(server), wait, in(func(r *eventlog.Report) { r.Began = 9e9 }), in(server, func(r *eventlog.Report) { r.Began = 9e9 })},
			[]string{"ended allow by web (allow, allow) x1 1100 bytes at 10", "ended allow by web (allow, allow) x1 1100 bytes at 10"}},
		{"several", []step{in(several(5))}, []string{"ended allow by web (allow, -) x5 1100 bytes at 10"}},
		{"several of both ends", []step{in(several(5)), in(server, several(5))}, []string{"ended allow by web (allow, -) x5 1100 bytes at 10"}},
		{"several, the server's first", []step{in(server, several(5)), in(several(5))}, []string{"ended allow by web (allow, -) x5 1100 bytes at 10"}},
		{"several, the client's late", []step{in(server, several(5)), wait, in(several(5))}, []string{"ended allow by api (-, allow) x5 1100 bytes at 10"}},
		{"several and single ones", []step{in(server, port(1)), in(server, port(2)), in(several(3)), in(server, port(3))}, []string{"ended allow by web (allow, -) x3 1100 bytes at 10"}},
		{"single ones and several", []step{in(port(1)), in(server, several(2)), in(port(2))}, []string{"ended allow by web (allow, -) x1 1100 bytes at 10", "ended allow by web (allow, -) x1 1100 bytes at 10"}},
		{"several that are refused", []step{in(several(3), deny), in(server, several(3), deny)}, []string{"violation deny by web (deny, -) x3 1100 bytes at 10"}},
		{"several that are refused and end later", []step{in(several(3), deny, func(r *eventlog.Report) { r.Ended = 0 }), wait, in(several(3), deny, func(r *eventlog.Report) { r.Sessions = 0 })},
			[]string{"violation deny by web (deny, -) x3 1100 bytes at 10"}},
		{"several that last", []step{in(several(3), func(r *eventlog.Report) { r.Ended = 1; r.Entry.Event.Outcome = controlv1.Outcome_OUTCOME_ESTABLISHED })}, []string{
			"opened allow by web (allow, -) x2 1100 bytes at 10", "ended allow by web (allow, -) x1 1100 bytes at 10"}},
		{"icmp", []step{in(func(r *eventlog.Report) { r.Proto, r.ClientPort, r.ServerPort = 1, 0, 0 }), in(server, func(r *eventlog.Report) { r.Proto, r.ClientPort, r.ServerPort = 1, 0, 0 })},
			[]string{"ended allow by web (allow, allow) x1 1100 bytes at 10"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(eventlog.Config{})
			for _, s := range tt.in {
				if s.pass > 0 {
					l.pass(s.pass)
					continue
				}
				l.Connection(report(s.report...))
			}
			l.pass(2 * time.Second)
			if d := cmp.Diff(tt.want, kept(t, l)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// warning is an event of a workload that nothing is joined with.
func warning(share, text string) *eventlog.Entry {
	kind := controlv1.EventKind_EVENT_KIND_WARNING
	return &eventlog.Entry{Share: share, Event: &controlv1.Event{Kind: kind, Stamp: 1, Text: text}, Subject: filter.Subject{Kind: kind}}
}

// TestShares: one workload's flood leaves the events of others, by count and by bytes.
func TestShares(t *testing.T) {
	for name, cfg := range map[string]eventlog.Config{"count": {Events: 100}, "bytes": {Bytes: 100_000}} {
		t.Run(name, func(t *testing.T) {
			l := newLab(cfg)
			for i := range 20 {
				l.Add(warning(fmt.Sprint("quiet-", i), "q"))
			}
			l.pass(2 * time.Second)
			for range 10_000 {
				l.Add(warning("noisy", "n"))
			}
			l.pass(2 * time.Second)
			p, err := l.List(eventlog.Query{Limit: 100_000})
			if err != nil {
				t.Fatal(err)
			}
			count := map[string]int{}
			for _, e := range p.Events {
				count[e.Text]++
			}
			if count["q"] != 20 || count["n"] == 0 || p.Lost != uint64(10_020-len(p.Events)) || len(p.Events) > 200 {
				t.Errorf("got %v, lost %d of %d", count, p.Lost, len(p.Events))
			}
		})
	}
}

// TestPages reads the log in parts while it grows.
func TestPages(t *testing.T) {
	l := newLab(eventlog.Config{})
	add := func(from, to int) {
		for i := from; i < to; i++ {
			l.Add(warning("x", fmt.Sprint(i)))
		}
		l.pass(2 * time.Second)
	}
	add(0, 25)
	var got []string
	q := eventlog.Query{Limit: 10}
	for {
		p, err := l.List(q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Events {
			got = append(got, e.Text)
		}
		if len(got) == 20 {
			add(25, 30)
		}
		if q.Token = p.Next; p.Next == "" {
			break
		}
	}
	if len(got) != 30 || got[0] != "0" || got[29] != "29" {
		t.Errorf("got %v", got)
	}
	p, err := l.List(eventlog.Query{Limit: 3, Newest: true})
	if err != nil || len(p.Events) != 3 || p.Events[0].Text != "27" || p.Total != 30 || p.Next != "" {
		t.Errorf("newest: got %v, %v", p, err)
	}
	var bad *eventlog.ErrCursor
	for _, token := range []string{"x", ".", "0123456789abcdef.", "0123456789abcdef.x", "nothexnothexnoth.1", strings.Repeat("9", 1000)} {
		if _, err := l.List(eventlog.Query{Limit: 1, Token: token}); !errors.As(err, &bad) {
			t.Errorf("token %.20q: got %v", token, err)
		}
	}
	if p, err := l.List(eventlog.Query{Limit: 100, Token: "0123456789abcdef.7"}); err != nil || len(p.Events) != 30 || p.Lost == 0 {
		t.Errorf("token of another controller: got %v, %v", p, err)
	}
}

// TestSubscribe begins to read in each way.
func TestSubscribe(t *testing.T) {
	l := newLab(eventlog.Config{Events: 10})
	closed := make(chan struct{})
	add := func(text string) string {
		l.Add(warning("x", text))
		l.pass(2 * time.Second)
		p, err := l.List(eventlog.Query{Limit: 1, Newest: true})
		if err != nil {
			t.Fatal(err)
		}
		return p.Events[0].Cursor
	}
	add("1")
	second := add("2")
	add("3")
	subscribe := func(cursor string, last int) *eventlog.Reader {
		r, err := l.Subscribe(nil, cursor, last)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close(r) })
		return r
	}
	read := func(r *eventlog.Reader, n int) (out string) {
		for range n {
			e, missed, err := r.Next(t.Context(), closed)
			if err != nil {
				t.Fatal(err)
			}
			if missed > 0 {
				out += fmt.Sprintf("(%d missed)", missed)
			}
			out += e.Text + " "
		}
		return out
	}
	fresh, resumed, last, other := subscribe("", 0), subscribe(second, 0), subscribe("", 2), subscribe("0123456789abcdef.7", 0)
	add("4")
	for name, x := range map[string]struct{ got, want string }{
		"new":                   {read(fresh, 1), "4 "},
		"behind a cursor":       {read(resumed, 2), "3 4 "},
		"last two":              {read(last, 3), "2 3 4 "},
		"another's cursor":      {read(other, 4), "(1 missed)1 2 3 4 "},
		"a cursor of long ago":  {read(func() *eventlog.Reader { flood(l, 20); return subscribe(second, 0) }(), 1), "(12 missed)f10 "},
		"a reader that is slow": {read(fresh, 20)[:6], "f0 f1 "},
	} {
		if x.got != x.want {
			t.Errorf("%s: got %q, want %q", name, x.got, x.want)
		}
	}
	if _, err := l.Subscribe(nil, "junk", 0); err == nil {
		t.Error("an invalid cursor was accepted")
	}
	close(closed)
	if _, _, err := last.Next(t.Context(), closed); err != nil && !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("after the end: got %v", err)
	}
}

func flood(l *lab, n int) {
	for i := range n {
		l.Add(warning("x", fmt.Sprint("f", i)))
	}
	l.pass(2 * time.Second)
}

// TestHeldIsBounded: a flood within the hold time is released early, and nothing is lost.
func TestHeldIsBounded(t *testing.T) {
	l := newLab(eventlog.Config{})
	flood := 25_000
	for i := range flood {
		l.Connection(report(port(uint16(1+i%60000)), stamp(int64(i))))
	}
	if got := len(kept(t, l)); got == 0 {
		t.Error("nothing is released before its time")
	}
	l.pass(2 * time.Second)
	p, err := l.List(eventlog.Query{Limit: 100_000})
	if err != nil || len(p.Events) != flood {
		t.Errorf("got %d events, %v, want %d", len(p.Events), err, flood)
	}
}
