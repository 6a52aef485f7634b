package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
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
}

func viewRule(r *controlv1.Rule) ruleView {
	return ruleView{r.Id, r.From, r.To, list(r.Ports), list(r.Apps), r.Action, r.Origin, r.Disabled, r.Comment, stamp(r.Created)}
}

func newRules(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rules",
		Aliases: []string{"rule"},
		Short:   "List the rules; add and delete them",
		Long: `Lists the rules in the order in which they are tried: the first that matches decides. Rules are
read from client to server. Those of people stand before those that were learned.

Applications that rules can name:
` + appNames(),
		Example: "  sluice rules\n  sluice rules add --from web --to db --ports tcp/5432 --apps postgresql\n  sluice rules delete 12",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.ask(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				r, err := cl.ListRules(ctx, &controlv1.ListRulesRequest{})
				if err != nil {
					return err
				}
				return c.showRules(r.Rules)
			})
		},
	}
	cmd.AddCommand(newRulesAdd(c), newRulesDelete(c))
	return listed(cmd)
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
		note := clean(r.Comment)
		if r.Disabled {
			note = strings.TrimSpace("disabled " + note)
		}
		rows = append(rows, []cell{ruleCell(r.Id), text(r.From), text(r.To), text(orAny(r.Ports)), text(orAny(r.Apps)), verdict(r.Action), text(r.Origin), faint(note)})
	}
	if c.json() {
		return c.document(views)
	}
	if len(rows) == 0 {
		fmt.Fprintln(c.out, "No rules yet: they are learned from the connections of groups in discover mode, or added with `sluice rules add`.")
		return nil
	}
	c.out.table([]string{"id", "from", "to", "ports", "apps", "action", "origin", "comment"}, rows)
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
	cmd := &cobra.Command{
		Use:   "add --from GROUP --to GROUP",
		Short: "Add a rule",
		Long: `Adds a rule between two groups, client to server. Groups are named as ` + "`sluice groups`" + ` lists them, or by
their short names. Without --ports and --apps the rule is for every port and application.`,
		Example: `  sluice rules add --from web --to db --ports tcp/5432 --apps postgresql
  sluice rules add --from any --to db --action deny --comment "nobody else"
  sluice rules add --from web --to external --ports tcp/443,tcp/8000-8100`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.ask(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				resp, err := cl.AddRule(ctx, &controlv1.AddRuleRequest{Rule: &r, Before: before})
				if err != nil {
					return err
				}
				if c.json() {
					return c.document(viewRule(resp.Rule))
				}
				fmt.Fprintf(c.out, "rule %d added: %s from %s to %s, ports %s, apps %s\n", resp.Rule.Id, resp.Rule.Action, resp.Rule.From, resp.Rule.To,
					orAny(resp.Rule.Ports), orAny(resp.Rule.Apps))
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.From, "from", "", "group of the client")
	f.StringVar(&r.To, "to", "", "group of the server")
	f.StringSliceVar(&r.Ports, "ports", nil, "any, tcp/80, tcp/8000-8100, udp/53, icmp; several with commas")
	f.StringSliceVar(&r.Apps, "apps", nil, "any, or names of applications ('sluice rules --help' lists them)")
	f.StringVar(&r.Action, "action", "allow", "allow or deny")
	f.StringVar(&r.Comment, "comment", "", "why the rule is there")
	f.Uint32Var(&before, "before", 0, "id of the rule to stand before; the last of people's rules if not given")
	for _, n := range []string{"from", "to"} {
		_ = cmd.MarkFlagRequired(n)
	}
	return cmd
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
			return c.ask(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
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
