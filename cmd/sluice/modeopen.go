package main

import (
	"context"
	"fmt"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
)

const (
	// openReports is how long reports of what a switch refused are waited for at most: agents send several
	// times a second, and those of both ends are joined for 1.5 s. openAgain is between two look-ups.
	openReports = 3500 * time.Millisecond
	openAgain   = 250 * time.Millisecond
	// openShown is the number of connections shown one by one.
	openShown = 10
)

// openBefore returns the number of open connections that a switch of groups to protect may refuse.
func openBefore(ctx context.Context, cl controlv1.ControlClient, groups []string) (n uint64, err error) {
	r, err := cl.ListConnections(ctx, &controlv1.ListConnectionsRequest{Filter: aboutGroups(groups, &controlv1.Filter{
		Verdicts: []controlv1.Verdict{controlv1.Verdict_VERDICT_VIOLATE, controlv1.Verdict_VERDICT_LEARN}})})
	if err != nil {
		return 0, err
	}
	for _, e := range r.Edges {
		n += e.Open
	}
	return n, nil
}

// aboutGroups restricts a filter to groups; "all" is no restriction.
func aboutGroups(groups []string, f *controlv1.Filter) *controlv1.Filter {
	for _, g := range groups {
		if g == "all" {
			return f
		}
	}
	f.About = groups
	return f
}

// open waits for what became of open connections, if a change was made and is enforced.
func (ch *change) open(r *changed) (*opened, error) {
	if ch.after == nil || !r.enforced || len(r.groups) == 0 {
		return new(opened), nil
	}
	return ch.after()
}

// opened are connections that were open when their group was switched to protect, and that no rule allows.
type opened struct {
	refused []*controlv1.Event
	kept    []*controlv1.Edge
}

// openAfter waits for the reports on n connections that were open at a time, and returns those of them that
// no rule allows.
func openAfter(ctx context.Context, cl controlv1.ControlClient, groups []string, since time.Time, n uint64) (*opened, error) {
	end := time.Now().Add(openReports)
	again := time.NewTicker(openAgain)
	defer again.Stop()
	for {
		o, err := openSince(ctx, cl, groups, since)
		if err != nil || o.count() >= n || time.Now().After(end) {
			return o, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// openSince returns what is reported by now.
func openSince(ctx context.Context, cl controlv1.ControlClient, groups []string, since time.Time) (*opened, error) {
	o := new(opened)
	page := &controlv1.Page{}
	for {
		r, err := cl.ListEvents(ctx, &controlv1.ListEventsRequest{Page: page, Filter: aboutGroups(groups, &controlv1.Filter{
			Kinds: []controlv1.EventKind{controlv1.EventKind_EVENT_KIND_VIOLATION}, Since: since.UnixNano()})})
		if err != nil {
			return nil, err
		}
		for _, e := range r.Events {
			o.add(e, since)
		}
		if page.Token = r.NextToken; page.Token == "" {
			return o, o.addKept(ctx, cl, groups)
		}
	}
}

// count returns the number of connections.
func (o *opened) count() (n uint64) {
	for _, e := range o.refused {
		n += max(e.Sessions, 1)
	}
	for _, e := range o.kept {
		n += e.Open
	}
	return n
}

// addKept adds open connections that pass although an end enforces another verdict.
func (o *opened) addKept(ctx context.Context, cl controlv1.ControlClient, groups []string) error {
	r, err := cl.ListConnections(ctx, &controlv1.ListConnectionsRequest{Filter: aboutGroups(groups, &controlv1.Filter{Verdicts: []controlv1.Verdict{controlv1.Verdict_VERDICT_VIOLATE}})})
	if err != nil {
		return err
	}
	passes := func(v *controlv1.EndVerdict) bool {
		return v.GetEnforced() && v.GetVerdict() == controlv1.Verdict_VERDICT_VIOLATE && v.GetReason() != controlv1.Reason_REASON_HOLD_EXPIRED
	}
	for _, e := range r.Edges {
		if e.Open > 0 && (passes(e.ClientEnd) || passes(e.ServerEnd)) {
			o.kept = append(o.kept, e)
		}
	}
	return nil
}

// add adds an event if it is about a connection that was open before.
func (o *opened) add(e *controlv1.Event, since time.Time) {
	if e.Began != 0 && e.Began < since.UnixNano() && e.Verdict == controlv1.Verdict_VERDICT_DENY {
		o.refused = append(o.refused, e)
	}
}

// show prints what became of open connections.
func (o *opened) show(c *cli) {
	n := uint64(0)
	var lines []string
	for _, e := range o.refused {
		n += max(e.Sessions, 1)
		lines = append(lines, fmt.Sprintf("  %s -> %s  %s", e.From, e.To, protoPort(policy.ProtoName(uint8(e.Proto)), e.Port)))
	}
	listOpen(c, n, lines, "refused %s that no rule allows:\n", red)
	n, lines = 0, nil
	for _, e := range o.kept {
		n += e.Open
		lines = append(lines, fmt.Sprintf("  %s -> %s  %s", e.FromWorkload, e.ToWorkload, protoPort(policy.ProtoName(uint8(e.Proto)), e.Port)))
	}
	listOpen(c, n, lines, "kept %s that no rule allows, until they end:\n", yellow)
}

// listOpen prints a number of connections and the first of their lines.
func listOpen(c *cli, n uint64, lines []string, text string, colour colour) {
	if n == 0 {
		return
	}
	what := fmt.Sprintf("%d open connections", n)
	if n == 1 {
		what = "1 open connection"
	}
	fmt.Fprint(c.out, c.out.paint(colour, fmt.Sprintf(text, what)))
	for _, line := range lines[:min(len(lines), openShown)] {
		fmt.Fprintln(c.out, clean(line))
	}
	if more := len(lines) - openShown; more > 0 {
		fmt.Fprintf(c.out, "  and %d more: see `sluice violations`\n", more)
	}
}

// document is the JSON form.
func (o *opened) document() map[string]any {
	refused, kept := []map[string]any{}, []map[string]any{}
	for _, e := range o.refused {
		refused = append(refused, map[string]any{"from": e.From, "to": e.To, "client": e.Client, "client_port": e.ClientPort, "server": e.Server, "port": protoPort(policy.ProtoName(uint8(e.Proto)), e.Port), "sessions": max(e.Sessions, 1)})
	}
	for _, e := range o.kept {
		kept = append(kept, map[string]any{"from": e.FromWorkload, "to": e.ToWorkload, "port": protoPort(policy.ProtoName(uint8(e.Proto)), e.Port), "sessions": e.Open})
	}
	return map[string]any{"refused": refused, "kept": kept}
}
