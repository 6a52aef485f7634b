package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/vocab"
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
	Verdict    string            `json:"verdict"` // the stricter one of both ends
	Reason     string            `json:"reason"`
	Rule       uint32            `json:"rule"`
	Outcome    string            `json:"outcome"`  // of the last session
	Outcomes   map[string]uint64 `json:"outcomes"` // sessions by outcome
	ClientEnd  *endView          `json:"client_end"`
	ServerEnd  *endView          `json:"server_end"`
	Sessions   uint64            `json:"sessions"`
	Open       uint64            `json:"open"`
	Bytes      uint64            `json:"bytes"`
	BytesOut   uint64            `json:"bytes_out"`
	BytesIn    uint64            `json:"bytes_in"`
	PacketsOut uint64            `json:"packets_out"`
	PacketsIn  uint64            `json:"packets_in"`
	Family     string            `json:"family"`
	Answered   bool              `json:"answered"`
	Evidence   string            `json:"evidence"` // how it is known which end is the client
	Lossy      bool              `json:"lossy"`    // frames or records were lost while it was observed
	First      string            `json:"first"`
	Last       string            `json:"last"`
	Attrs      map[string]string `json:"attrs"`
}

// endView is what one managed end decided; null where the end is not managed.
type endView struct {
	Workload string `json:"workload"` // id
	Verdict  string `json:"verdict"`
	Reason   string `json:"reason"`
	Rule     uint32 `json:"rule"`
	Enforced bool   `json:"enforced"`
}

func viewEnd(e *controlv1.EndVerdict) *endView {
	if e == nil {
		return nil
	}
	return &endView{e.Workload, vocab.Text(e.Verdict), vocab.Text(e.Reason), e.Rule, e.Enforced}
}

func viewConnection(e *controlv1.Edge) connectionView {
	return connectionView{From: end(e.FromWorkload, e.From), To: end(e.ToWorkload, e.To), FromGroup: e.From, ToGroup: e.To, Proto: policy.ProtoName(uint8(e.Proto)), Port: e.Port,
		App: e.App, Base: e.Base, Verdict: vocab.Text(e.Verdict), Reason: vocab.Text(e.Reason), Rule: e.Rule, Outcome: vocab.Text(e.Outcome), Outcomes: orEmpty(e.Outcomes),
		ClientEnd: viewEnd(e.ClientEnd), ServerEnd: viewEnd(e.ServerEnd), Sessions: e.Sessions, Open: e.Open, Bytes: e.BytesOut + e.BytesIn, BytesOut: e.BytesOut,
		BytesIn: e.BytesIn, PacketsOut: e.PacketsOut, PacketsIn: e.PacketsIn, Family: vocab.Text(e.Family), Answered: e.Answered, Evidence: vocab.Text(e.Evidence), Lossy: e.Lossy,
		First: stamp(e.First), Last: stamp(e.Last), Attrs: orEmpty(e.Attrs)}
}

// end is what an end of a connection is called: its workload or address, else its group.
func end(workload, group string) string {
	if workload != "" {
		return clean(workload)
	}
	return clean(group)
}

// bothVerdicts is the verdict of a connection; of both ends, the client's first, where they differ.
func bothVerdicts(v controlv1.Verdict, client, server *controlv1.EndVerdict) cell {
	name := vocab.Text(v)
	c := cell{text: name, colour: verdictColour(name)}
	if client != nil && server != nil && client.Verdict != server.Verdict {
		c.text = vocab.Text(client.Verdict) + " → " + vocab.Text(server.Verdict)
	}
	return c
}

// outcomesText lists outcomes in their order, with the sessions of each where there are several.
func outcomesText(of map[string]uint64, last controlv1.Outcome) string {
	var out []string
	only := ""
	for o := flow.OutcomeOpening; o <= flow.OutcomeDenied; o++ {
		if n := of[o.String()]; n > 0 {
			only = o.String()
			out = append(out, fmt.Sprintf("%d %s", n, o))
		}
	}
	switch len(out) {
	case 0:
		return vocab.Text(last)
	case 1:
		return only
	}
	return strings.Join(out, ", ")
}

// orders are the methods of sorting connections.
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
	var f filterFlags
	sort := "from"
	cmd := &cobra.Command{
		Use:     "connections",
		Aliases: []string{"connection", "conns"},
		Short:   "Show who talks to whom, and how",
		Long: `Shows each kind of connection that was seen: its ends, port and application, sessions, bytes, and when it
was seen last. VERDICT is what policy decided; where the two ends decided differently it is the
client's, an arrow, and the server's. OUTCOME is what became of the sessions on the network: a
service that is down is "refused" or "unanswered" whatever the verdict, and only what Sluice refused
is "denied". "lossy": frames or records were lost while it was observed.` + filterHelp,
		Example: "  sluice connections\n  sluice connections --from web --sort bytes\n  sluice connections --to 10.0.0.0/24 --outcome refused,unanswered --since 10m\n  sluice connections -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			order := orders[sort]
			if order == nil {
				return fmt.Errorf("cannot sort by %q: use last, bytes, sessions, from or app", sort)
			}
			return c.filtered(cmd, &f, func(ctx context.Context, cl controlv1.ControlClient, filter *controlv1.Filter) error {
				// All that match, as they are sorted here.
				edges, total, err := pages(0, func(p *controlv1.Page) (page[*controlv1.Edge], error) {
					r, err := cl.ListConnections(ctx, &controlv1.ListConnectionsRequest{Filter: filter, Page: p})
					return page[*controlv1.Edge]{r.GetEdges(), r.GetNextToken(), r.GetTotal()}, err
				})
				if err != nil {
					return err
				}
				slices.SortFunc(edges, byEnds)
				slices.SortStableFunc(edges, order)
				if f.limit > 0 && len(edges) > int(f.limit) {
					edges = edges[:f.limit]
				}
				defer c.cut(len(edges), total)
				return c.showConnections(edges)
			})
		},
	}
	f.add(cmd.Flags(), 0)
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
		fmt.Fprintln(c.out, "No connections.")
		return nil
	}
	rows := [][]cell{}
	for _, e := range edges {
		note := cell{}
		switch {
		case e.Lossy:
			note = cell{text: "lossy", colour: yellow}
		case e.Reason == controlv1.Reason_REASON_RELATED:
			note = text("related to " + clean(e.Attrs["related"]))
		case e.Attrs["service"] != "":
			note = text("by service address " + clean(e.Attrs["service"]))
		}
		rows = append(rows, []cell{text(end(e.FromWorkload, e.From)), text(end(e.ToWorkload, e.To)), text(protoPort(policy.ProtoName(uint8(e.Proto)), e.Port)), text(e.App),
			bothVerdicts(e.Verdict, e.ClientEnd, e.ServerEnd), ruleCell(e.Rule), text(outcomesText(e.Outcomes, e.Outcome)), number(e.Sessions), size(e.BytesOut + e.BytesIn),
			text(vocab.Text(e.Family)), faint(c.out.ago(e.Last)), note})
	}
	c.out.table([]string{"from", "to", "port", "app", "verdict", "rule", "outcome", "sessions", "bytes", "family", "last seen", "note"}, rows)
	return nil
}
