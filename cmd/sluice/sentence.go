package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/internal/vocab"
)

// question is a Why request with its answer as one sentence.
type question struct {
	cl     controlv1.ControlClient
	req    *controlv1.WhyRequest
	answer *controlv1.WhyResponse
	notes  map[string]string // of workloads, by name: what their mode does not mean
	text   string
}

// run calls Why, and again for each application where the answer depends on it.
func (q *question) run(ctx context.Context) error {
	var err error
	if q.answer, err = q.cl.Why(ctx, q.req); err != nil {
		return err
	}
	if err := q.findNotes(ctx); err != nil {
		return err
	}
	what := fmt.Sprintf("%s to %s on %s", q.answer.From, q.answer.To, q.answer.Port)
	switch {
	case q.req.App != "" && q.req.App != "any":
		q.text = fmt.Sprintf("%s with %s %s.", what, q.answer.App, q.becomes(q.answer))
	case q.answer.Verdict != controlv1.Verdict_VERDICT_PENDING:
		q.text = fmt.Sprintf("%s %s, whatever the application.", what, q.becomes(q.answer))
	default:
		q.text, err = q.byApplication(ctx, what)
	}
	return err
}

// findNotes finds what the modes of workloads do not mean: nothing is refused in the host's network.
func (q *question) findNotes(ctx context.Context) error {
	var names []string
	for _, e := range q.answer.Ends {
		names = append(names, e.Workload)
	}
	ws, err := allWorkloads(ctx, q.cl, &controlv1.ListWorkloadsRequest{})
	if err != nil {
		return err
	}
	q.notes = map[string]string{}
	for _, w := range ws {
		if w.HostNet && slices.Contains(names, w.Name) {
			q.notes[w.Name] = w.Note
		}
	}
	return nil
}

// byApplication is the sentence where the answer depends on the application: for which ones it is which.
func (q *question) byApplication(ctx context.Context, what string) (string, error) {
	named, other, err := q.applications(ctx)
	if err != nil {
		return "", err
	}
	becomes := func(name string) (string, error) {
		r, err := q.cl.Why(ctx, &controlv1.WhyRequest{From: q.req.From, To: q.req.To, Port: q.req.Port, App: name})
		if err != nil {
			return "", err
		}
		return q.becomes(r), nil
	}
	otherwise, err := becomes(other)
	if err != nil {
		return "", err
	}
	by, order := map[string][]string{}, []string{}
	for _, name := range named {
		o, err := becomes(name)
		if err != nil {
			return "", err
		}
		if o == otherwise {
			continue
		}
		if by[o] == nil {
			order = append(order, o)
		}
		by[o] = append(by[o], name)
	}
	if len(order) == 0 {
		return fmt.Sprintf("%s %s, whatever the application.", what, otherwise), nil
	}
	parts := make([]string, 0, len(order))
	for _, o := range order {
		parts = append(parts, fmt.Sprintf("with %s %s", strings.Join(by[o], ", "), o))
	}
	return fmt.Sprintf("%s %s; with anything else it %s.", what, strings.Join(parts, "; "), otherwise), nil
}

// applications returns those that rules of the answer name, and one that none of them is about.
func (q *question) applications(ctx context.Context) (named []string, other string, err error) {
	asked := map[uint32]bool{}
	for _, e := range q.answer.Ends {
		for _, s := range e.Steps {
			asked[s.Rule] = true
		}
	}
	rules, _, err := pages(0, func(p *controlv1.Page) (page[*controlv1.Rule], error) {
		r, err := q.cl.ListRules(ctx, &controlv1.ListRulesRequest{Page: p})
		return page[*controlv1.Rule]{r.GetRules(), r.GetNextToken(), r.GetTotal()}, err
	})
	if err != nil {
		return nil, "", err
	}
	for _, r := range rules {
		if asked[r.Id] {
			named = append(named, slices.DeleteFunc(slices.Clone(r.Apps), func(a string) bool { return a == "any" })...)
		}
	}
	slices.Sort(named)
	named = slices.Compact(named)
	for _, a := range app.All() {
		if !slices.Contains(named, a.Name) && a.On == app.Unknown {
			return named, a.Name, nil
		}
	}
	return named, app.Unknown.Name(), nil
}

// becomes is what becomes of a connection, and who decides so.
func (q *question) becomes(r *controlv1.WhyResponse) string {
	i := slices.IndexFunc(r.Ends, func(e *controlv1.WhyEnd) bool { return e.Verdict == r.Verdict })
	if i < 0 {
		return "is " + vocab.Text(r.Verdict)
	}
	side, why := "client's", q.because(r.Ends[i])
	if r.Ends[i].End == "ingress" {
		side = "server's"
	}
	switch r.Verdict {
	case controlv1.Verdict_VERDICT_OPEN:
		return "passes: it is not subject to policy"
	case controlv1.Verdict_VERDICT_LEARN:
		return "passes and is learned: " + why
	case controlv1.Verdict_VERDICT_ALLOW:
		return "is allowed: " + why
	case controlv1.Verdict_VERDICT_VIOLATE:
		return "passes and is reported as a violation: " + why + " at the " + side + " end"
	case controlv1.Verdict_VERDICT_DENY:
		return "is denied: " + why + " at the " + side + " end"
	}
	return "waits until its application is known"
}

// because is the reason of an end's decision in words.
func (q *question) because(e *controlv1.WhyEnd) string {
	switch e.Reason {
	case controlv1.Reason_REASON_RULE:
		return fmt.Sprintf("rule %d decides", e.Rule)
	case controlv1.Reason_REASON_QUARANTINE:
		return "the workload is quarantined"
	}
	return fmt.Sprintf("no rule matches in mode %s%s", vocab.Text(e.Mode), noteAfter(q.notes[e.Workload]))
}
