package controller_test

import (
	"sync"
	"testing"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/report"
)

// sessions is how many sessions the graph has counted from web to api.
func (l *lab) sessions() (n uint64) {
	l.t.Helper()
	res := must[*controlv1.ListConnectionsResponse](l.t)(l.control.ListConnections(l.t.Context(), &controlv1.ListConnectionsRequest{}))
	for _, e := range res.Edges {
		n += e.Sessions
	}
	return n
}

// TestJournal crashes the controller between reports, again and again: every report that it took is
// counted once, however often it is sent, and what was learned stays deleted when it was deleted.
func TestJournal(t *testing.T) {
	l := newLab(t)
	l.journal = true
	l.restart()
	l.shop("n1")
	web := func(port uint32) *controlv1.Connection {
		return seen("web", true, "10.7.0.2", "10.7.0.3", port, app.HTTP, report.Learn)
	}
	const reports = 30
	for n := uint64(1); n <= reports; n++ {
		l.report("n1", n, web(8080), web(8080))
		if n%7 == 0 {
			l.crash()
			l.report("n1", n, web(8080)) // its answer was lost: it is sent again
		}
		if n == 20 {
			l.restart() // stores the graph and empties the journal
		}
	}
	l.crash()
	if got := l.sessions(); got != 2*reports {
		t.Errorf("sessions after crashes: got %d, want %d", got, 2*reports)
	}
	rules := must[*controlv1.ListRulesResponse](t)(l.control.ListRules(t.Context(), &controlv1.ListRulesRequest{}))
	if len(rules.Rules) != 1 {
		t.Fatalf("rules: got %v, want one", rules.Rules)
	}
	if _, err := l.control.DeleteRule(t.Context(), &controlv1.DeleteRuleRequest{Id: rules.Rules[0].Id}); err != nil {
		t.Fatal(err)
	}
	l.crash()
	rules = must[*controlv1.ListRulesResponse](t)(l.control.ListRules(t.Context(), &controlv1.ListRulesRequest{}))
	if len(rules.Rules) != 0 {
		t.Errorf("a deleted rule was learned again from the journal: %v", rules.Rules)
	}
	l.restart()
	if list, _, err := l.store.List(t.Context(), "journal/"); err != nil || len(list) != 0 {
		t.Errorf("journal after the graph was stored: %d reports, %v", len(list), err)
	}
	if got := l.sessions(); got != 2*reports {
		t.Errorf("sessions in the end: got %d, want %d", got, 2*reports)
	}
}

// TestJournalTogether has many agents report at once: what is acknowledged survives.
func TestJournalTogether(t *testing.T) {
	l := newLab(t)
	l.journal = true
	l.restart()
	l.shop("n1")
	var wg sync.WaitGroup
	const agents, each = 8, 20
	for a := range agents {
		wg.Go(func() {
			for n := uint64(1); n <= each; n++ {
				_, err := l.collector.ReportConnections(t.Context(), &controlv1.ReportConnectionsRequest{Node: "n1", Boot: string(rune('a' + a%2)), Sequence: uint64(a/2)*each + n,
					Connections: []*controlv1.Connection{seen("web", true, "10.7.0.2", "10.7.0.3", 8080, app.HTTP, report.Learn)}})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	before := l.sessions() // those that came behind a later one of the same boot were not counted
	l.crash()
	if got := l.sessions(); got != before || before == 0 {
		t.Errorf("sessions: got %d after the crash, %d before", got, before)
	}
}
