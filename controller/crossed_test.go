package controller_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// crossedBy is a simultaneous open between port 7778 of web and port 7777 of api as the named end
// reports it: each has seen its own SYN first.
func crossedBy(name string, v6 bool, first int64, v flow.Verdict) *controlv1.Connection {
	web, api := "10.7.0.2", "10.7.0.3"
	if v6 {
		web, api = "fd07::2", "fd07::3"
	}
	c := seen("web", true, web, api, 7777, app.Unknown, v)
	c.ClientPort = 7778
	if name == "api" {
		c = seen("api", true, api, web, 7778, app.Unknown, v)
		c.ClientPort = 7777
		c.BytesOut, c.BytesIn = 4000, 500
	}
	c.Simultaneous, c.Session, c.First, c.Last = true, 9, first, first+1e6
	return c
}

// TestSimultaneousOpen: what both ends report of a simultaneous open is one row and one event, of the
// end whose SYN was first, whether the reports come together, apart, or in several parts.
func TestSimultaneousOpen(t *testing.T) {
	now := time.Now().UnixNano()
	opened := func(c *controlv1.Connection) *controlv1.Connection {
		c.Ended, c.Outcome = 0, controlv1.Outcome_OUTCOME_ESTABLISHED
		return c
	}
	rest := func(c *controlv1.Connection) *controlv1.Connection {
		c.Sessions, c.PacketsOut, c.PacketsIn, c.BytesOut, c.BytesIn = 0, 0, 0, 0, 0
		return c
	}
	unmarked := func(c *controlv1.Connection) *controlv1.Connection {
		c = opened(c)
		c.Simultaneous = false // the other end's SYN had not come
		return c
	}
	restarted := func(c *controlv1.Connection) *controlv1.Connection {
		c = rest(c)
		c.Simultaneous, c.Midstream, c.Session = false, true, 1
		return c
	}
	web, api := "web>api 7777 unknown", "api>web 7778 unknown"
	for _, v6 := range []bool{false, true} {
		w := func(first int64, v flow.Verdict) *controlv1.Connection { return crossedBy("web", v6, now+first, v) }
		a := func(first int64, v flow.Verdict) *controlv1.Connection { return crossedBy("api", v6, now+first, v) }
		tests := []struct {
			name string
			in   [][]*controlv1.Connection
			row  string
			end  string
		}{
			{"together, web first", [][]*controlv1.Connection{{a(10, flow.Allow), w(5, flow.Allow)}}, web + " allow (allow, allow) 1 closed", web + " allow closed by web"},
			{"together, api first", [][]*controlv1.Connection{{w(10, flow.Allow), a(5, flow.Allow)}}, api + " allow (allow, allow) 1 closed", api + " allow closed by api"},
			{"apart", [][]*controlv1.Connection{{a(10, flow.Allow)}, {w(15, flow.Allow)}}, api + " allow (allow, allow) 1 closed", api + " allow closed by api"},
			{"in parts", [][]*controlv1.Connection{{opened(w(5, flow.Allow)), opened(a(10, flow.Allow))}, {rest(a(10, flow.Allow)), rest(w(5, flow.Allow))}},
				web + " allow (allow, allow) 1 closed", web + " allow closed by web"},
			{"marked late", [][]*controlv1.Connection{{unmarked(w(5, flow.Allow))}, {unmarked(a(10, flow.Allow))}, {rest(w(5, flow.Allow))}, {rest(a(10, flow.Allow))}},
				web + " allow (allow, allow) 1 closed", ""},
			{"its agent is restarted", [][]*controlv1.Connection{{opened(w(5, flow.Allow)), opened(a(10, flow.Allow))}, {restarted(a(20, flow.Allow)), rest(w(5, flow.Allow))}},
				web + " allow (allow, allow) 1 closed", web + " allow closed by web"},
			{"one would refuse", [][]*controlv1.Connection{{w(5, flow.Allow), a(10, flow.Violate)}}, web + " violate (allow, violate) 1 closed", ""},
			{"again with the same ports", [][]*controlv1.Connection{{w(5, flow.Allow), a(10, flow.Allow)}, {a(2e9+5, flow.Allow), w(2e9+10, flow.Allow)}},
				api + " allow (allow, allow) 1 closed", ""},
		}
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s, ipv6 %v", tt.name, v6), func(t *testing.T) {
				t.Parallel()
				crossedReports(t, tt.name, tt.in, tt.row, tt.end)
			})
		}
	}
}

// crossedReports compares what requests with the reports of one simultaneous open become with a row
// and an event; with "" for the event, none is compared.
func crossedReports(t *testing.T, name string, in [][]*controlv1.Connection, row, end string) {
	l := newLab(t)
	l.shop("n1")
	for i, list := range in {
		l.report("n1", uint64(i+1), list...)
	}
	rows := l.rows(nil)
	if name == "again with the same ports" {
		if len(rows) != 2 {
			t.Errorf("connections %q, want one from each end", rows)
		}
		rows = rows[:1]
	}
	if d := cmp.Diff([]string{row}, rows); d != "" {
		t.Errorf("connections (-want +got):\n%s", d)
	}
	if end != "" {
		list := l.events(1, &controlv1.Filter{Kinds: []controlv1.EventKind{controlv1.EventKind_EVENT_KIND_ENDED}})
		if d := cmp.Diff([]string{"ended " + end}, list); d != "" {
			t.Errorf("events (-want +got):\n%s", d)
		}
	}
	want := []string(nil)
	if name == "one would refuse" { // api's SYN
		want = []string{"api>web 7778 unknown violate default x1 by netns:api"}
	}
	if d := cmp.Diff(want, l.violations(nil)); d != "" {
		t.Errorf("violations (-want +got):\n%s", d)
	}
	s := must[*controlv1.StatusResponse](t)(l.control.Status(t.Context(), &controlv1.StatusRequest{}))
	if n := uint64(len(l.rows(nil))); s.Sessions != n || s.Connections != n {
		t.Errorf("status: %d sessions, %d connections, want %d", s.Sessions, s.Connections, n)
	}
}

// TestSimultaneousOpenTeaches: each end's SYN is judged as a connection of its own, so both rules are
// learned, or the next one is refused.
func TestSimultaneousOpenTeaches(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	now := time.Now().UnixNano()
	l.report("n1", 1, crossedBy("web", false, now, flow.Learn), crossedBy("api", false, now+5, flow.Learn))
	if got := l.rules(); len(got) != 2 {
		t.Errorf("rules %v, want one from each end", got)
	}
}
