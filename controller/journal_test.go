package controller_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/store"
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
		return seen("web", true, "10.7.0.2", "10.7.0.3", port, app.HTTP, flow.Learn)
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
				_, err := l.collector.ReportConnections(t.Context(), &controlv1.ReportConnectionsRequest{Node: "n1", Run: string(rune('a' + a%2)), Sender: "boot-1", Sequence: uint64(a/2)*each + n,
					Connections: []*controlv1.Connection{seen("web", true, "10.7.0.2", "10.7.0.3", 8080, app.HTTP, flow.Learn)}})
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

// TestJournalSlow has the store take its time with a report, which the agent sends again meanwhile: that
// is not acknowledged before the report is in the store, and it is not counted again.
func TestJournalSlow(t *testing.T) {
	l := newLab(t)
	l.journal = true
	var slow atomic.Bool
	held, goOn := make(chan struct{}, 8), make(chan struct{})
	l.commit = func(ops []store.Op) error {
		if !slow.Load() || !strings.HasPrefix(ops[len(ops)-1].Key, "journal/") {
			return nil
		}
		select {
		case held <- struct{}{}:
		default:
		}
		<-goOn
		return errors.New("no server leads")
	}
	l.restart()
	l.shop("n1")
	slow.Store(true)
	r := &controlv1.ReportConnectionsRequest{Node: "n1", Run: "boot-1", Sequence: 1, Connections: []*controlv1.Connection{seen("web", true, "10.7.0.2", "10.7.0.3", 8080, app.HTTP, flow.Learn)}}
	acked := make(chan error, 2)
	send := func() {
		_, err := l.collector.ReportConnections(context.WithoutCancel(t.Context()), r)
		acked <- err
	}
	go send()
	<-held
	go send()
	select {
	case err := <-acked:
		t.Errorf("answered while the store had not taken it: %v", err)
		acked <- err
	case <-time.After(200 * time.Millisecond): // nothing can show that no answer would come later
	}
	slow.Store(false)
	close(goOn)
	answers := []error{<-acked, <-acked}
	if (answers[0] == nil) == (answers[1] == nil) {
		t.Errorf("got %v, want one refused with the store's error and one taken", answers)
	}
	l.crash()
	if got := l.sessions(); got != 1 {
		t.Errorf("sessions after a crash: got %d, want 1", got)
	}
}
