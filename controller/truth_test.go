package controller_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/internal/vocab"
)

// became is a connection with another outcome, as its agent reports it when it is over.
func became(c *controlv1.Connection, o flow.Outcome) *controlv1.Connection {
	c.Outcome = vocab.Outcome(o)
	c.Answered = o == flow.OutcomeEstablished || o == flow.OutcomeClosed || o == flow.OutcomeReset
	return c
}

// events waits until n events are kept that a filter accepts, and gives them in a line each.
func (l *lab) events(n int, f *controlv1.Filter) []string {
	l.t.Helper()
	var list []*controlv1.Event
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		r := must[*controlv1.ListEventsResponse](l.t)(l.control.ListEvents(l.t.Context(), &controlv1.ListEventsRequest{Filter: f}))
		if list = r.Events; len(list) >= n || time.Now().After(end) {
			break
		}
	}
	var out []string
	for _, e := range list {
		out = append(out, eventLine(e))
	}
	return out
}

func eventLine(e *controlv1.Event) string {
	s := fmt.Sprintf("%s %s>%s %d %s %s %s by %s", vocab.Text(e.Kind), e.From, e.To, e.Port, e.App, vocab.Text(e.Verdict), vocab.Text(e.Outcome), e.Reporter)
	if e.Kind == controlv1.EventKind_EVENT_KIND_FAILOPEN {
		s = fmt.Sprintf("failopen %s %s %d frames by %s", e.From, e.Cause, e.Frames, e.Reporter)
	}
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// rows is the connections in a line each, with what became of them.
func (l *lab) rows(f *controlv1.Filter) []string {
	l.t.Helper()
	r := must[*controlv1.ListConnectionsResponse](l.t)(l.control.ListConnections(l.t.Context(), &controlv1.ListConnectionsRequest{Filter: f}))
	var out []string
	for _, e := range r.Edges {
		var outcomes []string
		for _, o := range []string{"opening", "established", "closed", "reset", "refused", "unanswered", "denied"} {
			if e.Outcomes[o] > 0 {
				outcomes = append(outcomes, fmt.Sprint(e.Outcomes[o], " ", o))
			}
		}
		out = append(out, fmt.Sprintf("%s>%s %d %s %s (%s, %s) %s", e.FromWorkload, e.ToWorkload, e.Port, e.App, vocab.Text(e.Verdict),
			vocab.Text(e.ClientEnd.GetVerdict()), vocab.Text(e.ServerEnd.GetVerdict()), strings.Join(outcomes, ", ")))
	}
	return out
}

// violations is the violations in a line each.
func (l *lab) violations(f *controlv1.Filter) []string {
	l.t.Helper()
	r := must[*controlv1.ListViolationsResponse](l.t)(l.control.ListViolations(l.t.Context(), &controlv1.ListViolationsRequest{Filter: f}))
	var out []string
	for _, v := range r.Violations {
		s := fmt.Sprintf("%s>%s %d %s %s %s x%d by %s", v.FromWorkload, v.ToWorkload, v.Port, v.App, vocab.Text(v.Verdict), vocab.Text(v.Reason), v.Count, v.Reporter)
		if v.Text != "" {
			s += ": " + v.Text
		}
		out = append(out, s)
	}
	return out
}

// TestTruth: what happened is reported as it happened: verdict and outcome apart, each connection once.
func TestTruth(t *testing.T) {
	web := func(v flow.Verdict, o flow.Outcome) *controlv1.Connection {
		return became(seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, v), o)
	}
	api := func(v flow.Verdict, o flow.Outcome) *controlv1.Connection {
		return became(seen("api", false, "10.7.0.2", "10.7.0.3", 80, app.HTTP, v), o)
	}
	tests := []struct {
		name                     string
		in                       []*controlv1.Connection
		rows, violations, events []string
	}{
		{"a service that is down", []*controlv1.Connection{web(flow.Allow, flow.OutcomeRefused), api(flow.Allow, flow.OutcomeRefused)},
			[]string{"web>api 80 http allow (allow, allow) 1 refused"}, nil, []string{"ended web>api 80 http allow refused by web"}},
		{"one that opens and closes", []*controlv1.Connection{web(flow.Allow, flow.OutcomeClosed), api(flow.Allow, flow.OutcomeClosed)},
			[]string{"web>api 80 http allow (allow, allow) 1 closed"}, nil, []string{"ended web>api 80 http allow closed by web"}},
		{"no answer", []*controlv1.Connection{web(flow.Learn, flow.OutcomeUnanswered)},
			[]string{"web>api 80 http learn (learn, ) 1 unanswered"}, nil, []string{"ended web>api 80 http learn unanswered by web"}},
		{"one that ends without a word about it", []*controlv1.Connection{became(web(flow.Allow, flow.OutcomeClosed), flow.OutcomeEstablished)},
			[]string{"web>api 80 http allow (allow, ) 1 closed"}, nil, []string{"ended web>api 80 http allow closed by web"}},
		{"refused by the client's end", []*controlv1.Connection{web(flow.Deny, flow.OutcomeDenied)},
			[]string{"web>api 80 http deny (deny, ) 1 denied"}, []string{"web>api 80 http deny default x1 by netns:web"}, []string{"violation web>api 80 http deny denied by web"}},
		{"refused by the server's end", []*controlv1.Connection{web(flow.Allow, flow.OutcomeReset), api(flow.Deny, flow.OutcomeDenied)},
			[]string{"web>api 80 http deny (allow, deny) 1 denied"}, []string{"web>api 80 http deny default x1 by netns:api"}, []string{"violation web>api 80 http deny denied by api"}},
		{"both ends would refuse", []*controlv1.Connection{web(flow.Violate, flow.OutcomeClosed), api(flow.Violate, flow.OutcomeClosed)},
			[]string{"web>api 80 http violate (violate, violate) 1 closed"}, []string{"web>api 80 http violate default x1 by netns:web"}, []string{"violation web>api 80 http violate closed by web"}},
		{"the server's end reports first", []*controlv1.Connection{api(flow.Allow, flow.OutcomeClosed), web(flow.Learn, flow.OutcomeClosed)},
			[]string{"web>api 80 http learn (learn, allow) 1 closed"}, nil, []string{"ended web>api 80 http learn closed by web"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.shop("n1")
			for i, c := range tt.in {
				c.First, c.Last = tt.in[0].First, tt.in[0].Last
				l.report("n1", uint64(i+1), c)
			}
			if d := cmp.Diff(tt.rows, l.rows(nil)); d != "" {
				t.Errorf("connections (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.violations, l.violations(nil)); d != "" {
				t.Errorf("violations (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.events, l.events(1, nil)); d != "" {
				t.Errorf("events (-want +got):\n%s", d)
			}
			if len(tt.violations) > 0 || tt.in[0].Outcome != vocab.Outcome(flow.OutcomeClosed) {
				if got := l.rules(); len(got) > 0 {
					t.Errorf("it teaches %v", got)
				}
			}
			s := must[*controlv1.StatusResponse](t)(l.control.Status(t.Context(), &controlv1.StatusRequest{}))
			if s.Sessions != 1 || s.Connections != 1 || s.Violations != uint64(len(tt.violations)) {
				t.Errorf("status: %d sessions, %d connections, %d violations", s.Sessions, s.Connections, s.Violations)
			}
		})
	}
}

// TestRefusedStaysRefused: a switch back to discover teaches nothing of what was refused, and makes no row of it.
func TestRefusedStaysRefused(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	mode := func(m controlv1.Mode) {
		must[*controlv1.SetModeResponse](t)(l.control.SetMode(t.Context(), &controlv1.SetModeRequest{Groups: []string{"all"}, Mode: m}))
	}
	mode(controlv1.Mode_MODE_PROTECT)
	c := became(seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Deny), flow.OutcomeDenied)
	c.Session, c.Ended = 7, 0
	l.report("n1", 1, c)
	mode(controlv1.Mode_MODE_DISCOVER)
	again := became(seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Learn), flow.OutcomeDenied)
	again.Session, again.Sessions, again.First, again.Answered = 7, 0, time.Now().UnixNano(), true
	l.report("n1", 2, again)
	if d := cmp.Diff([]string{"web>api 80 http deny (deny, ) 1 denied"}, l.rows(nil)); d != "" {
		t.Errorf("connections (-want +got):\n%s", d)
	}
	if got := l.rules(); len(got) > 0 {
		t.Errorf("rules %v, want none", got)
	}
	if d := cmp.Diff([]string{"violation web>api 80 http deny denied by web"}, l.events(1, nil)); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

// TestUnjudged: frames without a verdict are an event, a violation and counts, and one log line.
func TestUnjudged(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	now := time.Now().UnixNano()
	u := func(workload, cause string, dropped bool, frames uint64) *controlv1.Unjudged {
		return &controlv1.Unjudged{Workload: workload, Interface: "eth0", Backend: "inline", Cause: cause, Dropped: dropped, Frames: frames, Bytes: 1000, First: now, Last: now}
	}
	must[*controlv1.ReportConnectionsResponse](t)(l.collector.ReportConnections(t.Context(), &controlv1.ReportConnectionsRequest{Node: "n1", Run: "boot-1", Sequence: 1,
		Unjudged: []*controlv1.Unjudged{u("netns:web", "heartbeat", false, 23), u("netns:web", "heartbeat", false, 2), u("netns:api", "table_full", true, 5), u("", "detached", false, 1), u("netns:web", "nothing", false, 0),
			u("netns:db", "odd\ncause", false, 1), nil}}))
	want := []string{
		"db>any 0  violate failopen x1 by netns:db: inline: odd_cause",
		"n1>any 0  violate failopen x1 by : inline: detached",
		"api>any 0  deny failopen x5 by netns:api: inline: table_full",
		"web>any 0  violate failopen x25 by netns:web: inline: heartbeat",
	}
	if d := cmp.Diff(want, l.violations(nil)); d != "" {
		t.Errorf("violations (-want +got):\n%s", d)
	}
	fail := []controlv1.Reason{controlv1.Reason_REASON_FAILOPEN}
	if d := cmp.Diff(want[3:], l.violations(&controlv1.Filter{From: []string{"web"}, Reasons: fail})); d != "" {
		t.Errorf("violations of web (-want +got):\n%s", d)
	}
	events := []string{"failopen web heartbeat 23 frames by web: inline: heartbeat", "failopen web heartbeat 2 frames by web: inline: heartbeat",
		"failopen api table_full 5 frames by api: inline: table_full", "failopen n1 detached 1 frames by n1: inline: detached", "failopen db odd_cause 1 frames by db: inline: odd_cause"}
	if d := cmp.Diff(events, l.events(5, &controlv1.Filter{Kinds: []controlv1.EventKind{controlv1.EventKind_EVENT_KIND_FAILOPEN}})); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
	s := must[*controlv1.StatusResponse](t)(l.control.Status(t.Context(), &controlv1.StatusRequest{}))
	if s.Unjudged != 27 || s.Violations != 0 || s.Nodes[0].Counters["unjudged.passed.heartbeat"] != 25 || s.Nodes[0].Counters["unjudged.dropped.table_full"] != 5 {
		t.Errorf("status: %d unjudged, %d violations, counters %v", s.Unjudged, s.Violations, s.Nodes[0].Counters)
	}
	if got := strings.Count(l.log.String(), "cause=heartbeat"); got != 1 || !strings.Contains(l.log.String(), "level=WARN") {
		t.Errorf("%d log lines of the heartbeat, want one warning:\n%s", got, l.log.String())
	}
	l.restart()
	if s := must[*controlv1.StatusResponse](t)(l.control.Status(t.Context(), &controlv1.StatusRequest{})); s.Unjudged != 27 {
		t.Errorf("after a restart: %d unjudged", s.Unjudged)
	}
}

// TestThreats: threats are kept, counted and streamed, each with the packet that showed it.
func TestThreats(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	frame := []byte{0x45, 0, 0, 20}
	record := func(id uint32, src, dst string, frame []byte) *controlv1.ThreatRecord {
		return &controlv1.ThreatRecord{Workload: "netns:api", Id: id, Text: "a text", Src: bytesOf(src), Dst: bytesOf(dst), SrcPort: 40000, DstPort: 53, Proto: 17,
			Stamp: time.Now().UnixNano(), Count: 2, Frame: frame}
	}
	bad := record(2007, "10.7.0.2", "10.7.0.3", nil)
	bad.Src = nil
	must[*controlv1.ReportConnectionsResponse](t)(l.collector.ReportConnections(t.Context(), &controlv1.ReportConnectionsRequest{Node: "n1", Run: "boot-1", Sequence: 1,
		Threats: []*controlv1.ThreatRecord{record(2007, "10.7.0.2", "10.7.0.3", frame), record(2007, "10.7.0.2", "10.7.0.3", []byte{0x45, 9}), record(2001, "2001:db8::9", "fd07::3", make([]byte, 1000)), bad}}))
	list := func(f *controlv1.Filter) (out []string) {
		r := must[*controlv1.ListThreatsResponse](t)(l.control.ListThreats(t.Context(), &controlv1.ListThreatsRequest{Filter: f}))
		for _, x := range r.Threats {
			out = append(out, fmt.Sprintf("%d %s: %s>%s %s>%s x%d seen by %s in %d bytes", x.Id, x.Name, x.FromWorkload, x.ToWorkload, x.From, x.To, x.Count, x.Workload, len(x.Frame)))
		}
		return out
	}
	want := []string{"2001 bad packet: 2001:db8::9>api external>svc:default/api x2 seen by netns:api in 256 bytes",
		"2007 DNS loop pointer: web>api svc:default/web>svc:default/api x4 seen by netns:api in 4 bytes"}
	check := func(when string) {
		t.Helper()
		for _, x := range []struct {
			name string
			f    *controlv1.Filter
			want []string
		}{{"all", nil, want}, {"by id", &controlv1.Filter{Threats: []uint32{2007}}, want[1:]}, {"by sender", &controlv1.Filter{From: []string{"2001:db8::/32"}}, want[:1]},
			{"by family", &controlv1.Filter{Family: controlv1.Family_FAMILY_IPV4}, want[1:]}, {"by port", &controlv1.Filter{Ports: []string{"tcp/53"}}, nil}} {
			if d := cmp.Diff(x.want, list(x.f)); d != "" {
				t.Errorf("%s, %s (-want +got):\n%s", when, x.name, d)
			}
		}
	}
	check("at once")
	if got := l.events(3, &controlv1.Filter{Kinds: []controlv1.EventKind{controlv1.EventKind_EVENT_KIND_THREAT}, Threats: []uint32{2007}, About: []string{"web"}}); len(got) != 2 || got[0] != "threat web>api 53   opening by api: a text" {
		t.Errorf("events: got %q", got)
	}
	if s := must[*controlv1.StatusResponse](t)(l.control.Status(t.Context(), &controlv1.StatusRequest{})); s.Threats != 6 {
		t.Errorf("status: %d threats, want 6", s.Threats)
	}
	l.restart()
	check("after a restart")
}

// TestObserveResumes: a reader continues where it was, and is reported events that are missing.
func TestObserveResumes(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	send := func(seq uint64, port uint32) {
		c := seen("web", true, "10.7.0.2", "10.7.0.3", port, app.HTTP, flow.Allow)
		c.ClientPort = 30000 + port
		l.report("n1", seq, c)
	}
	observe := func(r *controlv1.ObserveRequest, n int) (ports []uint32, missed uint64, cursor string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		s := must[controlv1.Control_ObserveClient](t)(l.control.Observe(ctx, r))
		for range n {
			e := must[*controlv1.Event](t)(s.Recv())
			ports, missed, cursor = append(ports, e.Port), missed+e.Missed, e.Cursor
		}
		return ports, missed, cursor
	}
	send(1, 1)
	send(2, 2)
	l.events(2, nil)
	ports, _, cursor := observe(&controlv1.ObserveRequest{Last: 1}, 1)
	send(3, 3)
	send(4, 4)
	again, missed, _ := observe(&controlv1.ObserveRequest{Cursor: cursor}, 2)
	if fmt.Sprint(ports, again, missed) != "[2] [3 4] 0" {
		t.Errorf("got %v, then %v with %d missed", ports, again, missed)
	}
	l.restart()
	send(5, 5)
	if ports, missed, _ := observe(&controlv1.ObserveRequest{Cursor: cursor}, 1); fmt.Sprint(ports) != "[5]" || missed == 0 {
		t.Errorf("at another controller: got %v with %d missed", ports, missed)
	}
	s, err := l.control.Observe(t.Context(), &controlv1.ObserveRequest{Cursor: "junk"})
	if err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("a cursor that is none: got %v", err)
	}
}
