package main

import (
	"context"
	"fmt"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
)

const (
	// openReports is how long reports of what a switch refused are waited for: agents send several times a
	// second, and those of both ends are joined.
	openReports = 2 * time.Second
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
type opened struct{ refused, kept []*controlv1.Event }

// openAfter waits for the reports on open connections since a time, and returns those that no rule allows.
func openAfter(ctx context.Context, cl controlv1.ControlClient, groups []string, since time.Time) (*opened, error) {
	select {
	case <-time.After(openReports):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
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
			return o, nil
		}
	}
}

// add adds an event if it is about a connection that was open before.
func (o *opened) add(e *controlv1.Event, since time.Time) {
	switch {
	case e.Began == 0 || e.Began >= since.UnixNano():
	case e.Verdict == controlv1.Verdict_VERDICT_DENY:
		o.refused = append(o.refused, e)
	case e.GetClientEnd().GetEnforced() || e.GetServerEnd().GetEnforced():
		o.kept = append(o.kept, e)
	}
}

// show prints what became of open connections.
func (o *opened) show(c *cli) {
	o.list(c, o.refused, "refused %s that no rule allows:\n", red)
	o.list(c, o.kept, "kept %s that no rule allows, until they end:\n", yellow)
}

func (o *opened) list(c *cli, events []*controlv1.Event, text string, colour colour) {
	n := uint64(0)
	for _, e := range events {
		n += max(e.Sessions, 1)
	}
	if n == 0 {
		return
	}
	what := fmt.Sprintf("%d open connections", n)
	if n == 1 {
		what = "1 open connection"
	}
	fmt.Fprint(c.out, c.out.paint(colour, fmt.Sprintf(text, what)))
	for _, e := range events[:min(len(events), openShown)] {
		fmt.Fprintf(c.out, "  %s -> %s  %s\n", e.From, e.To, protoPort(policy.ProtoName(uint8(e.Proto)), e.Port))
	}
	if more := len(events) - openShown; more > 0 {
		fmt.Fprintf(c.out, "  and %d more: see `sluice violations`\n", more)
	}
}

// document is the JSON form.
func (o *opened) document() map[string]any {
	texts := func(events []*controlv1.Event) []map[string]any {
		out := []map[string]any{}
		for _, e := range events {
			out = append(out, map[string]any{"from": e.From, "to": e.To, "client": e.Client, "client_port": e.ClientPort, "server": e.Server, "port": protoPort(policy.ProtoName(uint8(e.Proto)), e.Port), "sessions": max(e.Sessions, 1)})
		}
		return out
	}
	return map[string]any{"refused": texts(o.refused), "kept": texts(o.kept)}
}
