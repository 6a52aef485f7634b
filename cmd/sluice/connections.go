package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
)

type connectionView struct {
	From       string            `json:"from"`
	To         string            `json:"to"`
	FromGroup  string            `json:"from_group"`
	ToGroup    string            `json:"to_group"`
	Proto      string            `json:"proto"`
	Port       uint32            `json:"port"`
	App        string            `json:"app"`
	Base       string            `json:"base"`
	Verdict    string            `json:"verdict"`
	Reason     string            `json:"reason"`
	Rule       uint32            `json:"rule"`
	Sessions   uint64            `json:"sessions"`
	Open       uint64            `json:"open"`
	Bytes      uint64            `json:"bytes"`
	BytesOut   uint64            `json:"bytes_out"`
	BytesIn    uint64            `json:"bytes_in"`
	PacketsOut uint64            `json:"packets_out"`
	PacketsIn  uint64            `json:"packets_in"`
	Family     string            `json:"family"`
	Answered   bool              `json:"answered"`
	First      string            `json:"first"`
	Last       string            `json:"last"`
	Attrs      map[string]string `json:"attrs"`
}

func viewConnection(e *controlv1.Edge) connectionView {
	return connectionView{From: end(e.FromWorkload, e.From), To: end(e.ToWorkload, e.To), FromGroup: e.From, ToGroup: e.To, Proto: policy.ProtoName(uint8(e.Proto)), Port: e.Port,
		App: e.App, Base: e.Base, Verdict: e.Verdict, Reason: e.Reason, Rule: e.Rule, Sessions: e.Sessions, Open: e.Open, Bytes: e.BytesOut + e.BytesIn, BytesOut: e.BytesOut,
		BytesIn: e.BytesIn, PacketsOut: e.PacketsOut, PacketsIn: e.PacketsIn, Family: e.Family, Answered: e.Answered, First: stamp(e.First), Last: stamp(e.Last), Attrs: orEmpty(e.Attrs)}
}

// end is what an end of a connection is called: its workload or address, else its group.
func end(workload, group string) string {
	if workload != "" {
		return clean(workload)
	}
	return clean(group)
}

// ends filters connections by their ends.
type ends struct{ from, to string }

func (f *ends) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.from, "from", "", "only from this workload, group or address")
	cmd.Flags().StringVar(&f.to, "to", "", "only to this workload, group or address")
}

func (f *ends) match(fromGroup, from, toGroup, to string) bool {
	return isEnd(f.from, fromGroup, from) && isEnd(f.to, toGroup, to)
}

// isEnd says whether want names an end by its workload, its group, or the group's short name.
func isEnd(want, group, workload string) bool {
	return want == "" || want == workload || want == group || strings.HasSuffix(group, "/"+want)
}

// orders are the ways of sorting connections.
var orders = map[string]func(a, b *controlv1.Edge) int{
	"last":     func(a, b *controlv1.Edge) int { return cmp.Compare(b.Last, a.Last) },
	"bytes":    func(a, b *controlv1.Edge) int { return cmp.Compare(b.BytesOut+b.BytesIn, a.BytesOut+a.BytesIn) },
	"sessions": func(a, b *controlv1.Edge) int { return cmp.Compare(b.Sessions, a.Sessions) },
	"from":     byEnds,
	"app":      func(a, b *controlv1.Edge) int { return cmp.Or(cmp.Compare(a.App, b.App), byEnds(a, b)) },
}

func byEnds(a, b *controlv1.Edge) int {
	return cmp.Or(cmp.Compare(end(a.FromWorkload, a.From), end(b.FromWorkload, b.From)), cmp.Compare(end(a.ToWorkload, a.To), end(b.ToWorkload, b.To)),
		cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Family, b.Family), cmp.Compare(a.App, b.App), cmp.Compare(a.Verdict, b.Verdict))
}

func newConnections(c *cli) *cobra.Command {
	var f ends
	sort := "from"
	cmd := &cobra.Command{
		Use:     "connections",
		Aliases: []string{"connection", "conns"},
		Short:   "Show who talks to whom, and how",
		Long: `Shows each kind of connection that was seen: its ends, port and application, the verdict on it,
how many sessions and bytes there were, and when it was seen last.`,
		Example: "  sluice connections\n  sluice connections --from web --sort bytes\n  sluice connections -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			order := orders[sort]
			if order == nil {
				return fmt.Errorf("cannot sort by %q: use last, bytes, sessions, from or app", sort)
			}
			return c.ask(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				r, err := cl.ListConnections(ctx, &controlv1.ListConnectionsRequest{})
				if err != nil {
					return err
				}
				edges := slices.DeleteFunc(r.Edges, func(e *controlv1.Edge) bool { return !f.match(e.From, e.FromWorkload, e.To, e.ToWorkload) })
				slices.SortFunc(edges, byEnds)
				slices.SortStableFunc(edges, order)
				return c.showConnections(edges)
			})
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVar(&sort, "sort", sort, "last, bytes, sessions, from or app")
	return cmd
}

func (c *cli) showConnections(edges []*controlv1.Edge) error {
	if c.json() {
		views := []connectionView{}
		for _, e := range edges {
			views = append(views, viewConnection(e))
		}
		return c.document(views)
	}
	if len(edges) == 0 {
		fmt.Fprintln(c.out, "No connections seen (yet).")
		return nil
	}
	rows := [][]cell{}
	for _, e := range edges {
		rows = append(rows, []cell{text(end(e.FromWorkload, e.From)), text(end(e.ToWorkload, e.To)), text(protoPort(policy.ProtoName(uint8(e.Proto)), e.Port)), text(e.App),
			verdict(e.Verdict), ruleCell(e.Rule), number(e.Sessions), size(e.BytesOut + e.BytesIn), text(e.Family), faint(c.out.ago(e.Last))})
	}
	c.out.table([]string{"from", "to", "port", "app", "verdict", "rule", "sessions", "bytes", "family", "last seen"}, rows)
	return nil
}

type violationView struct {
	From      string `json:"from"`
	To        string `json:"to"`
	FromGroup string `json:"from_group"`
	ToGroup   string `json:"to_group"`
	Client    string `json:"client"`
	Server    string `json:"server"`
	Proto     string `json:"proto"`
	Port      uint32 `json:"port"`
	App       string `json:"app"`
	Verdict   string `json:"verdict"`
	Reason    string `json:"reason"`
	Rule      uint32 `json:"rule"`
	Count     uint64 `json:"count"`
	Family    string `json:"family"`
	Reporter  string `json:"reporter"`
	Egress    bool   `json:"egress"`
	First     string `json:"first"`
	Last      string `json:"last"`
}

func newViolations(c *cli) *cobra.Command {
	var f ends
	var limit uint32
	cmd := &cobra.Command{
		Use:     "violations",
		Aliases: []string{"violation"},
		Short:   "Show what broke the policy",
		Long: `Shows connections that no rule allows, or that a rule denies. Verdict "deny": refused, because an
end is in protect mode; "violate": let through, because it is in monitor mode.`,
		Example: "  sluice violations\n  sluice violations --from intruder\n  sluice violations -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.ask(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				r, err := cl.ListViolations(ctx, &controlv1.ListViolationsRequest{Limit: limit})
				if err != nil {
					return err
				}
				return c.showViolations(slices.DeleteFunc(r.Violations, func(v *controlv1.Violation) bool { return !f.match(v.From, v.FromWorkload, v.To, v.ToWorkload) }))
			})
		},
	}
	f.flags(cmd)
	cmd.Flags().Uint32Var(&limit, "limit", 200, "at most this many, newest first; 0 is all")
	return cmd
}

func (c *cli) showViolations(vs []*controlv1.Violation) error {
	views, rows := []violationView{}, [][]cell{}
	for _, v := range vs {
		from, to, proto := end(v.FromWorkload, v.From), end(v.ToWorkload, v.To), policy.ProtoName(uint8(v.Proto))
		views = append(views, violationView{from, to, v.From, v.To, v.Client, v.Server, proto, v.Port, v.App, v.Verdict, v.Reason, v.Rule, v.Count, v.Family,
			v.Reporter, v.Egress, stamp(v.First), stamp(v.Stamp)})
		rows = append(rows, []cell{text(from), text(to), text(protoPort(proto, v.Port)), text(v.App), verdict(v.Verdict), text(v.Reason), ruleCell(v.Rule), number(v.Count),
			text(v.Family), faint(c.out.ago(v.Stamp))})
	}
	if c.json() {
		return c.document(views)
	}
	if len(rows) == 0 {
		fmt.Fprintln(c.out, "No violations.")
		return nil
	}
	c.out.table([]string{"from", "to", "port", "app", "verdict", "reason", "rule", "count", "family", "last seen"}, rows)
	return nil
}
