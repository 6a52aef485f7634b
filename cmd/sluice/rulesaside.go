package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/vocab"
)

// asideView is a learned rule that is not in force.
type asideView struct {
	ruleView
	Cause   string `json:"cause"`
	Source  string `json:"source"`
	First   string `json:"first"`
	Last    string `json:"last"`
	Omitted uint64 `json:"omitted"`
}

// listAside shows what is set aside.
func (c *cli) listAside(ctx context.Context, cl controlv1.ControlClient) error {
	var lost uint64
	rules, _, err := pages(0, func(p *controlv1.Page) (page[*controlv1.SetAside], error) {
		r, err := cl.ListSetAside(ctx, &controlv1.ListSetAsideRequest{Page: p})
		lost = r.GetLost()
		return page[*controlv1.SetAside]{r.GetRules(), r.GetNextToken(), r.GetTotal()}, err
	})
	if err != nil {
		return err
	}
	views, rows := []asideView{}, [][]cell{}
	for _, a := range rules {
		v := asideView{viewRule(a.GetRule()), vocab.Text(a.Cause), a.Source, stamp(a.First), stamp(a.Last), a.Omitted}
		views = append(views, v)
		note := asideNote(a)
		rows = append(rows, []cell{ruleCell(v.ID), text(v.From), text(v.To), text(orAny(v.Ports)), text(orAny(v.Apps)), text(v.Cause), text(clean(v.Source)), {text: note, colour: yellow}})
	}
	if c.json() {
		return c.document(views)
	}
	if lost > 0 {
		fmt.Fprintf(c.errs, "%s%d observations found no room here: accept or drop what is listed\n", c.errs.paint(yellow, "warning: "), lost)
	}
	if len(rows) == 0 {
		fmt.Fprintln(c.out, "No rules are set aside.")
		return nil
	}
	c.out.table([]string{"id", "from", "to", "ports", "apps", "cause", "source", "note"}, rows)
	return nil
}

// asideNote returns why a rule is set aside.
func asideNote(a *controlv1.SetAside) string {
	var note string
	switch a.Cause {
	case controlv1.AsideCause_ASIDE_CAUSE_SCAN:
		note = "learned during a scan by the source"
	case controlv1.AsideCause_ASIDE_CAUSE_PORTS:
		note = "more ports than a learned rule lists"
	}
	if a.Omitted > 0 {
		note += fmt.Sprintf("; %d more ports not listed", a.Omitted)
	}
	return note
}

func newRulesDecide(c *cli, decision controlv1.AsideDecision) *cobra.Command {
	name, short, done := "accept", "Put rules in force that were set aside", "accepted"
	long := `Puts learned rules in force that were set aside, as "sluice rules --set-aside" lists them. The ports become
part of the learned rule for the same groups and application, if there is one.`
	if decision == controlv1.AsideDecision_ASIDE_DECISION_DROP {
		name, short, done = "drop", "Delete rules that were set aside", "dropped"
		long = "Deletes learned rules that were set aside. They come back if the same is learned again."
	}
	return &cobra.Command{
		Use: name + " ID...", Short: short, Long: long, Example: "  sluice rules " + name + " 10007",
		Args: func(cmd *cobra.Command, a []string) error {
			if len(a) == 0 {
				return fmt.Errorf("name the ids of rules that are set aside: see `%s --help`", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, a []string) error {
			ids := make([]uint32, len(a))
			for i, text := range a {
				id, err := strconv.ParseUint(text, 10, 32)
				if err != nil || id == 0 {
					return fmt.Errorf("%q is not the id of a rule: `sluice rules --set-aside` lists them", text)
				}
				ids[i] = uint32(id)
			}
			return c.call(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				views := []map[string]any{}
				for _, id := range ids {
					r, err := cl.DecideSetAside(ctx, &controlv1.DecideSetAsideRequest{Id: id, Decision: decision})
					if err != nil {
						return err
					}
					doc := map[string]any{done: id}
					line := fmt.Sprintf("rule %d %s", id, done)
					if r.Rule != nil {
						doc["rule"] = viewRule(r.Rule)
						line += fmt.Sprintf(": rule %d is in force, ports %s", r.Rule.Id, orAny(r.Rule.Ports))
					}
					views = append(views, doc)
					if !c.json() {
						fmt.Fprintln(c.out, line)
					}
				}
				if c.json() {
					return c.document(views)
				}
				return nil
			})
		},
	}
}

// maxWideShown is how many wide rules are listed after a change of mode.
const maxWideShown = 10

// warnWide lists wide learned rules on the side.
func (c *cli) warnWide(rules []*controlv1.Rule) {
	for i, r := range rules {
		if i == maxWideShown {
			fmt.Fprintf(c.errs, "%s%d more wide rules: `sluice rules --origin learned` lists them\n", c.errs.paint(yellow, "warning: "), len(rules)-i)
			return
		}
		seen := ""
		if len(r.Names) > 0 {
			seen = "; seen: " + clean(strings.Join(r.Names, ", "))
		}
		fmt.Fprintf(c.errs, "%srule %d (%s to %s, ports %s, apps %s) is %s%s\n", c.errs.paint(yellow, "warning: "), r.Id, r.From, r.To, orAny(r.Ports), orAny(r.Apps),
			clean(strings.Join(r.Warnings, "; ")), seen)
	}
}
