package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/vocab"
)

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
	Outcome   string `json:"outcome"`
	Count     uint64 `json:"count"` // connections; frames where the reason is failopen
	Family    string `json:"family"`
	Reporter  string `json:"reporter"`
	Egress    bool   `json:"egress"`
	Text      string `json:"text"` // of failopen: backend and cause
	First     string `json:"first"`
	Last      string `json:"last"`
}

func newViolations(c *cli) *cobra.Command {
	var f filterFlags
	cmd := &cobra.Command{
		Use:     "violations",
		Aliases: []string{"violation"},
		Short:   "Show what broke the policy",
		Long: `Shows connections that no rule allows, or that a rule denies, newest first. Verdict "deny": refused,
because an end is in protect mode; "violate": passed, because it is in monitor mode. A service that is
down is no violation: "sluice connections" shows it as refused or unanswered.

Reason "failopen": frames that went by without a verdict, as the dataplane could not judge them; COUNT is frames
and the note has the backend and the cause.` + filterHelp,
		Example: "  sluice violations\n  sluice violations --from intruder --since 1h\n  sluice violations --reason failopen\n  sluice violations -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.filtered(cmd, &f, func(ctx context.Context, cl controlv1.ControlClient, filter *controlv1.Filter) error {
				vs, total, err := pages(f.limit, func(p *controlv1.Page) (page[*controlv1.Violation], error) {
					r, err := cl.ListViolations(ctx, &controlv1.ListViolationsRequest{Filter: filter, Page: p})
					return page[*controlv1.Violation]{r.GetViolations(), r.GetNextToken(), r.GetTotal()}, err
				})
				if err != nil {
					return err
				}
				defer c.cut(len(vs), total)
				return c.showViolations(vs)
			})
		},
	}
	f.add(cmd.Flags(), 200)
	return cmd
}

func viewViolation(v *controlv1.Violation) violationView {
	return violationView{From: end(v.FromWorkload, v.From), To: end(v.ToWorkload, v.To), FromGroup: v.From, ToGroup: v.To, Client: v.Client, Server: v.Server,
		Proto: protoOf(v.Proto), Port: v.Port, App: v.App, Verdict: vocab.Text(v.Verdict), Reason: vocab.Text(v.Reason), Rule: v.Rule, Outcome: violationOutcome(v),
		Count: v.Count, Family: vocab.Text(v.Family), Reporter: v.Reporter, Egress: v.Egress, Text: clean(v.Text), First: stamp(v.First), Last: stamp(v.Stamp)}
}

// violationOutcome is a violation's outcome; unjudged frames have none.
func violationOutcome(v *controlv1.Violation) string {
	if v.Reason == controlv1.Reason_REASON_FAILOPEN {
		return ""
	}
	return vocab.Text(v.Outcome)
}

// protoOf is the name of an IP protocol; "" for none.
func protoOf(n uint32) string {
	if n == 0 {
		return ""
	}
	return policy.ProtoName(uint8(n))
}

func (c *cli) showViolations(vs []*controlv1.Violation) error {
	views, rows := []violationView{}, [][]cell{}
	for _, m := range vs {
		v := viewViolation(m)
		views = append(views, v)
		why := text(v.Reason)
		if m.Reason == controlv1.Reason_REASON_FAILOPEN {
			why.colour = red
		}
		rows = append(rows, []cell{text(cmp.Or(v.From, "-")), text(cmp.Or(v.To, "-")), text(protoPort(v.Proto, v.Port)), text(v.App), verdict(v.Verdict), why, ruleCell(v.Rule), text(v.Outcome), number(v.Count),
			text(v.Family), faint(c.out.ago(m.Stamp)), text(v.Text)})
	}
	if c.json() {
		return c.document(views)
	}
	if len(rows) == 0 {
		fmt.Fprintln(c.out, "No violations.")
		return nil
	}
	c.out.table([]string{"from", "to", "port", "app", "verdict", "reason", "rule", "outcome", "count", "family", "last seen", "note"}, rows)
	return nil
}
