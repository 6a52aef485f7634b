package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/internal/vocab"
)

type ruleView struct {
	ID       uint32   `json:"id"`
	From     string   `json:"from"`
	To       string   `json:"to"`
	Ports    []string `json:"ports"`
	Apps     []string `json:"apps"`
	Action   string   `json:"action"`
	Origin   string   `json:"origin"`
	Disabled bool     `json:"disabled"`
	Comment  string   `json:"comment"`
	Created  string   `json:"created"`
	Warnings []string `json:"warnings"` // what it does not do, such as a group without members
	Revision uint64   `json:"revision"`
	Wide     bool     `json:"wide"`  // learned, and allows much more than traffic can show
	Names    []string `json:"names"` // of servers outside, as clients asked for them
}

func viewRule(r *controlv1.Rule) ruleView {
	return ruleView{r.Id, r.From, r.To, list(r.Ports), list(r.Apps), vocab.Text(r.Action), vocab.Text(r.Origin), r.Disabled, r.Comment, stamp(r.Created), list(r.Warnings), r.Revision, r.Wide, list(r.Names)}
}

func newRules(c *cli) *cobra.Command {
	cmd := newRulesList(c)
	cmd.Use, cmd.Aliases, cmd.Short = "rules", []string{"rule"}, "List the rules; add and delete them"
	cmd.Long = `Lists the rules in the order in which they are tried: the first that matches decides. Rules are
read from client to server. User rules come before those that were learned. NOTE has what a
rule does not do, such as that one of its groups has no members, and where a learned rule is wide: it
allows more than was seen. What may have been taught by a scan is set aside, not in force.

Applications that rules can name:
` + appNames()
	cmd.Example = "  sluice rules\n  sluice rules list --about db\n  sluice rules add --from web --to db --ports tcp/5432 --apps postgresql\n  sluice rules delete 12\n  sluice rules --set-aside\n  sluice rules accept 10007"
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(newRulesList(c), newRulesAdd(c), newRulesDelete(c),
		newRulesDecide(c, controlv1.AsideDecision_ASIDE_DECISION_ACCEPT), newRulesDecide(c, controlv1.AsideDecision_ASIDE_DECISION_DROP))
	return cmd
}

func newRulesList(c *cli) *cobra.Command {
	var req controlv1.ListRulesRequest
	var origins []string
	var aside bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the rules in the order in which they are tried",
		Long:    "Lists the rules, or those that the flags select. A name that no group or workload has is an error.",
		Example: "  sluice rules list\n  sluice rules list --about db --origin user",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if req.Origins, err = parseAll[controlv1.Origin]("origin", origins, controlv1.Origin_value); err != nil {
				return err
			}
			return c.call(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				if aside {
					return c.listAside(ctx, cl)
				}
				var away uint64
				rules, _, err := pages(0, func(p *controlv1.Page) (page[*controlv1.Rule], error) {
					req.Page = p
					r, err := cl.ListRules(ctx, &req)
					away = r.GetSetAside()
					return page[*controlv1.Rule]{r.GetRules(), r.GetNextToken(), r.GetTotal()}, err
				})
				if err != nil {
					return err
				}
				if err := c.showRules(rules); err != nil || away == 0 {
					return err
				}
				fmt.Fprintf(c.errs, "%s%d learned rules are set aside, not in force: `sluice rules --set-aside` lists them\n", c.errs.paint(yellow, "warning: "), away)
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&req.From, "from", nil, "only from this group or workload")
	f.StringSliceVar(&req.To, "to", nil, "only to this group or workload")
	f.StringSliceVar(&req.About, "about", nil, "only from or to this group or workload")
	f.StringSliceVar(&origins, "origin", nil, "only of this origin: learned, user, imported")
	f.BoolVar(&aside, "set-aside", false, "learned rules that are not in force, because of a scan or too many ports")
	for _, other := range []string{"from", "to", "about", "origin"} {
		cmd.MarkFlagsMutuallyExclusive("set-aside", other)
	}
	return cmd
}

// appNames lists the applications, wrapped.
func appNames() string {
	var b strings.Builder
	width := 0
	for _, a := range app.All() {
		if width+len(a.Name) > 88 {
			b.WriteString("\n")
			width = 0
		}
		if width == 0 {
			b.WriteString("  ")
		}
		b.WriteString(a.Name + " ")
		width += len(a.Name) + 1
	}
	return b.String()
}

func (c *cli) showRules(rules []*controlv1.Rule) error {
	views, rows := []ruleView{}, [][]cell{}
	for _, r := range rules {
		views = append(views, viewRule(r))
		comment := clean(r.Comment)
		if len(r.Names) > 0 {
			comment = strings.TrimPrefix(comment+"; seen: "+clean(strings.Join(r.Names, ", ")), "; ")
		}
		if r.Disabled {
			comment = strings.TrimSpace("disabled " + comment)
		}
		rows = append(rows, []cell{ruleCell(r.Id), text(r.From), text(r.To), text(orAny(r.Ports)), text(orAny(r.Apps)), verdict(vocab.Text(r.Action)), text(vocab.Text(r.Origin)), faint(comment),
			{text: clean(strings.Join(r.Warnings, "; ")), colour: yellow}})
	}
	if c.json() {
		return c.document(views)
	}
	if len(rows) == 0 {
		fmt.Fprintln(c.out, "No rules: they are learned from the connections of groups in discover mode, or added with `sluice rules add`.")
		return nil
	}
	c.out.table([]string{"id", "from", "to", "ports", "apps", "action", "origin", "comment", "note"}, rows)
	return nil
}

func orAny(l []string) string {
	if len(l) == 0 {
		return "any"
	}
	return strings.Join(l, ",")
}

func newRulesAdd(c *cli) *cobra.Command {
	var r controlv1.Rule
	var before uint32
	action := "allow"
	cmd := &cobra.Command{
		Use:   "add --from GROUP --to GROUP",
		Short: "Add a rule",
		Long: `Adds a rule between two groups, client to server. Groups are named as ` + "`sluice groups`" + ` lists them, or by
their short names. Without --ports and --apps the rule is for every port and application. What
the rule does not do, such as that a group has no members, is reported as a warning.`,
		Example: `  sluice rules add --from web --to db --ports tcp/5432 --apps postgresql
  sluice rules add --from any --to db --action deny --comment "no other client"
  sluice rules add --from web --to external --ports tcp/443,tcp/8000-8100`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if r.Action, err = vocab.Parse[controlv1.Action]("action", action, controlv1.Action_value); err != nil {
				return err
			}
			return c.call(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				resp, err := cl.PutRule(ctx, &controlv1.PutRuleRequest{Rule: &r, Before: before})
				if err != nil {
					return err
				}
				return c.showAdded(resp.Rule)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.From, "from", "", "group of the client")
	f.StringVar(&r.To, "to", "", "group of the server")
	f.StringSliceVar(&r.Ports, "ports", nil, "any, tcp/80, tcp/8000-8100, udp/53, icmp; several with commas")
	f.StringSliceVar(&r.Apps, "apps", nil, "any, or names of applications ('sluice rules --help' lists them)")
	f.StringVar(&action, "action", action, "allow or deny")
	f.StringVar(&r.Comment, "comment", "", "why the rule is there")
	f.Uint32Var(&before, "before", 0, "id of the rule to precede; the last of the user rules if not given")
	for _, n := range []string{"from", "to"} {
		_ = cmd.MarkFlagRequired(n)
	}
	return cmd
}

// showAdded shows a new rule, and on the side what it does not do.
func (c *cli) showAdded(r *controlv1.Rule) error {
	if c.json() {
		return c.document(viewRule(r))
	}
	fmt.Fprintf(c.out, "rule %d added: %s from %s to %s, ports %s, apps %s\n", r.Id, vocab.Text(r.Action), r.From, r.To, orAny(r.Ports), orAny(r.Apps))
	for _, w := range r.Warnings {
		fmt.Fprintln(c.errs, c.errs.paint(yellow, "warning: ")+clean(w))
	}
	return nil
}

func newRulesDelete(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "delete ID",
		Aliases: []string{"remove", "rm", "del"},
		Short:   "Delete a rule",
		Long:    "Deletes a rule. A learned one comes back if its group is in discover mode and the connection is made again.",
		Example: "  sluice rules delete 12",
		Args:    args("ID"),
		RunE: func(cmd *cobra.Command, a []string) error {
			id, err := strconv.ParseUint(a[0], 10, 32)
			if err != nil || id == 0 {
				return fmt.Errorf("%q is not the id of a rule: `sluice rules` lists them", a[0])
			}
			return c.call(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				if _, err := cl.DeleteRule(ctx, &controlv1.DeleteRuleRequest{Id: uint32(id)}); err != nil {
					return err
				}
				if c.json() {
					return c.document(map[string]any{"deleted": id})
				}
				fmt.Fprintf(c.out, "rule %d deleted\n", id)
				return nil
			})
		},
	}
}
