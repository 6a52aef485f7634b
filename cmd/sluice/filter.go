package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/vocab"
)

// filterFlags are the flags that select connections, violations, threats and events. The daemon
// applies them, before any limit, and refuses what it cannot resolve.
type filterFlags struct {
	f                           controlv1.Filter
	verdicts, outcomes, reasons []string
	kinds                       []string // of events
	since, until, family        string
	limit                       uint32
}

// filterHelp describes what the flags take.
const filterHelp = `

Flags select on the server, before --limit. An end is a workload's name, id, NODE/NAME or
NAMESPACE/SERVICE, a group, an address or a CIDR; what names nothing is an error. Several values of one flag,
with commas or by repeating it, are alternatives; different flags must all match. --since and
--until take a duration before now (10m, 2h), a date or a time (2026-03-04 12:00:00, or RFC 3339).`

// add adds the flags; limit is the default of --limit.
func (f *filterFlags) add(fl *pflag.FlagSet, limit uint32) {
	fl.StringSliceVar(&f.f.From, "from", nil, "only with this client")
	fl.StringSliceVar(&f.f.To, "to", nil, "only with this server")
	fl.StringSliceVar(&f.f.About, "about", nil, "only with this client or server")
	fl.StringSliceVar(&f.f.Ports, "port", nil, "only to this port: 80, tcp/80, udp/53, icmp")
	fl.StringSliceVar(&f.f.Apps, "app", nil, "only of this application")
	fl.StringSliceVar(&f.verdicts, "verdict", nil, "only with this verdict: open, learn, allow, violate, deny, pending")
	fl.StringSliceVar(&f.outcomes, "outcome", nil, "only with this outcome: opening, established, closed, reset, refused, unanswered, denied")
	fl.StringSliceVar(&f.reasons, "reason", nil, "only for this reason: rule, default, quarantine, unready, hold_expired, threat, failopen, unidentified")
	fl.StringVar(&f.since, "since", "", "only since this time, or this long ago")
	fl.StringVar(&f.until, "until", "", "only until this time, or this long ago")
	fl.StringVar(&f.family, "family", "", "only over ipv4 or ipv6")
	fl.Uint32VarP(&f.limit, "limit", "n", limit, "at most this many; 0 is all")
}

// request returns the filter that the flags make.
func (f *filterFlags) request(now time.Time) (*controlv1.Filter, error) {
	var err error
	if f.f.Verdicts, err = parseAll[controlv1.Verdict]("verdict", f.verdicts, controlv1.Verdict_value); err != nil {
		return nil, err
	}
	if f.f.Outcomes, err = parseAll[controlv1.Outcome]("outcome", f.outcomes, controlv1.Outcome_value); err != nil {
		return nil, err
	}
	if f.f.Reasons, err = parseAll[controlv1.Reason]("reason", f.reasons, controlv1.Reason_value); err != nil {
		return nil, err
	}
	if f.f.Kinds, err = parseAll[controlv1.EventKind]("kind of event", f.kinds, controlv1.EventKind_value); err != nil {
		return nil, err
	}
	if f.f.Since, err = parseTime("--since", f.since, now); err != nil {
		return nil, err
	}
	if f.f.Until, err = parseTime("--until", f.until, now); err != nil {
		return nil, err
	}
	if f.family != "" {
		if f.f.Family, err = vocab.Parse[controlv1.Family]("family", f.family, controlv1.Family_value); err != nil {
			return nil, err
		}
	}
	return &f.f, nil
}

// parseAll returns the values of names.
func parseAll[E interface {
	~int32
	fmt.Stringer
}](kind string, names []string, values map[string]int32) ([]E, error) {
	var out []E
	for _, n := range names {
		e, err := vocab.Parse[E](kind, n, values)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// parseTime reads a time, or a duration before now, as ns since the epoch; 0 of "".
func parseTime(flag, text string, now time.Time) (int64, error) {
	if text == "" {
		return 0, nil
	}
	if d, err := time.ParseDuration(strings.TrimPrefix(text, "-")); err == nil {
		return now.Add(-d).UnixNano(), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.UnixNano(), nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t.UnixNano(), nil
		}
	}
	return 0, fmt.Errorf("%s %q is neither a duration such as 10m nor a time such as 2026-03-04 12:00:00", flag, text)
}

// pageSize is how much of a list is fetched at once.
const pageSize = 1000

// page is a part of a list as the daemon returned it.
type page[T any] struct {
	items []T
	next  string
	total uint64
}

// pages fetches a list, at most limit of it or all with 0, and returns how many there are.
func pages[T any](limit uint32, fetch func(*controlv1.Page) (page[T], error)) (items []T, total uint64, err error) {
	token, seen := "", map[string]bool{}
	for {
		want := uint32(pageSize)
		if limit > 0 {
			want = min(want, limit-uint32(len(items)))
		}
		p, err := fetch(&controlv1.Page{Limit: want, Token: token})
		if err != nil {
			return nil, 0, err
		}
		items = append(items, p.items...)
		switch {
		case p.next == "" || limit > 0 && uint32(len(items)) >= limit:
			return items, max(p.total, uint64(len(items))), nil
		case seen[p.next]:
			return nil, 0, fmt.Errorf("the daemon repeats itself: page %q comes twice", p.next)
		}
		seen[p.next], token = true, p.next
	}
}

// cut reports on the side that a list is not whole.
func (c *cli) cut(shown int, total uint64) {
	if uint64(shown) < total {
		fmt.Fprintf(c.errs, "%d of %d shown: --limit 0 shows all\n", shown, total)
	}
}

// allWorkloads fetches the workloads of a request.
func allWorkloads(ctx context.Context, cl controlv1.ControlClient, r *controlv1.ListWorkloadsRequest) ([]*controlv1.Workload, error) {
	ws, _, err := pages(0, func(p *controlv1.Page) (page[*controlv1.Workload], error) {
		r.Page = p
		a, err := cl.ListWorkloads(ctx, r)
		return page[*controlv1.Workload]{a.GetWorkloads(), a.GetNextToken(), a.GetTotal()}, err
	})
	return ws, err
}

// filtered is a command whose arguments are the filter's flags.
func (c *cli) filtered(cmd *cobra.Command, f *filterFlags, fn func(context.Context, controlv1.ControlClient, *controlv1.Filter) error) error {
	filter, err := f.request(c.out.now())
	if err != nil {
		return err
	}
	return c.call(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error { return fn(ctx, cl, filter) })
}
