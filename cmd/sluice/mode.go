package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/vocab"
)

func newMode(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mode",
		Short: "Switch groups between discover, monitor and protect",
		Long: `A service group is in one of three modes:
  discover   everything passes, and new connections become rules
  monitor    everything passes, and what no rule allows is reported
  protect    what no rule allows is refused`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newModeSet(c))
	return cmd
}

func newModeSet(c *cli) *cobra.Command {
	wait := 10 * time.Second
	cmd := &cobra.Command{
		Use:   "set GROUP... discover|monitor|protect",
		Short: "Set the mode of groups, and wait until it is enforced",
		Long: `Sets the mode of one group, of several, or of "all", and waits until every agent enforces it. Groups are
named as "sluice groups" lists them, or by their short names. No connection is broken by it but
those that the new mode refuses: a switch to protect refuses open connections that no rule allows, idle
ones too, and lists them. Agents that run with --open-at-switch=keep let them continue, as violations.`,
		Example: "  sluice mode set web protect\n  sluice mode set web api db monitor\n  sluice mode set all discover",
		Args: func(cmd *cobra.Command, a []string) error {
			if len(a) < 2 {
				return fmt.Errorf("name at least one group (or all), then the mode: see `%s --help`", cmd.CommandPath())
			}
			_, err := vocab.Parse[controlv1.Mode]("mode", a[len(a)-1], controlv1.Mode_value)
			return err
		},
		RunE: func(cmd *cobra.Command, a []string) error {
			return c.call(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				mode, err := vocab.Parse[controlv1.Mode]("mode", a[len(a)-1], controlv1.Mode_value)
				if err != nil {
					return err
				}
				return c.setMode(ctx, cl, a[:len(a)-1], mode, wait)
			})
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", wait, "how long to wait for the agents; 0 does not wait")
	return cmd
}

func (c *cli) setMode(ctx context.Context, cl controlv1.ControlClient, groups []string, mode controlv1.Mode, wait time.Duration) error {
	name := vocab.Text(mode)
	ch := change{what: "mode", name: name, wait: wait, colour: verdictColour(name)}
	if mode == controlv1.Mode_MODE_PROTECT && wait > 0 {
		n, err := openBefore(ctx, cl, groups)
		if err == nil && n > 0 {
			since := time.Now()
			ch.after = func() (*opened, error) { return openAfter(ctx, cl, groups, since, n) }
		}
	}
	var wide []*controlv1.Rule
	groupsNow, err := c.change(ctx, &ch, func(ctx context.Context) (*changed, error) {
		r, err := cl.SetMode(ctx, &controlv1.SetModeRequest{Groups: groups, Mode: mode, Wait: wait > 0})
		wide = r.GetWide()
		return &changed{r.GetGroups(), r.GetPolicy(), r.GetEnforced(), wide}, err
	})
	if err != nil {
		return err
	}
	c.warnWide(wide)
	return c.warnMembers(ctx, cl, groupsNow)
}

// change is a setting of groups that is about to be written.
type change struct {
	what, name string // "mode", "protect"
	wait       time.Duration
	colour     colour
	after      func() (*opened, error) // reports what became of open connections; nil for nothing
}

// changed is what a daemon answered to a change.
type changed struct {
	groups   []*controlv1.Group
	policy   uint64
	enforced bool
	wide     []*controlv1.Rule // learned rules that allow more than was seen
}

// change writes a setting of groups, waits until it is enforced, and shows what came of it.
func (c *cli) change(ctx context.Context, ch *change, call func(context.Context) (*changed, error)) ([]groupView, error) {
	callCtx := ctx
	if ch.wait > 0 {
		var cancel context.CancelFunc
		callCtx, cancel = context.WithTimeout(ctx, ch.wait)
		defer cancel()
	}
	late := fmt.Errorf("the %s is stored, but not every agent enforced it within %s: `sluice status` shows which one is behind", ch.what, ch.wait)
	begin := time.Now()
	r, err := call(callCtx)
	took := time.Since(begin)
	if err != nil && callCtx.Err() != nil && ctx.Err() == nil {
		return nil, late
	}
	if err != nil {
		return nil, err
	}
	views := []groupView{}
	for _, g := range r.groups {
		views = append(views, viewGroup(g))
	}
	open := new(opened)
	if c.json() {
		if open, err = ch.open(r); err != nil {
			return nil, err
		}
		doc := map[string]any{"groups": views, strings.ReplaceAll(ch.what, " ", "_"): ch.name, "policy": r.policy, "enforced": r.enforced, "ms": took.Milliseconds()}
		if ch.what == "mode" {
			rules := []ruleView{}
			for _, x := range r.wide {
				rules = append(rules, viewRule(x))
			}
			doc["wide"] = rules
		}
		if ch.after != nil {
			doc["open"] = open.document()
		}
		if err := c.document(doc); err != nil {
			return nil, err
		}
	} else {
		for _, g := range views {
			fmt.Fprintf(c.out, "%s: %s%s\n", g.Name, c.out.paint(ch.colour, ch.name), noteAfter(g.Note))
		}
		if len(views) == 0 {
			fmt.Fprintf(c.out, "nothing to change: already %s\n", ch.name)
		}
		if r.enforced {
			fmt.Fprintf(c.out, "enforced after %d ms (policy %d)\n", took.Milliseconds(), r.policy)
		}
		if open, err = ch.open(r); err != nil {
			return nil, err
		}
		open.show(c)
	}
	if ch.wait > 0 && !r.enforced {
		return nil, late
	}
	return views, nil
}

// noteAfter is a note to stand behind something.
func noteAfter(note string) string {
	if note == "" {
		return ""
	}
	return " (" + note + ")"
}

// warnMembers reports which members of changed groups could not be attached as their mode wants.
func (c *cli) warnMembers(ctx context.Context, cl controlv1.ControlClient, groups []groupView) error {
	st, err := cl.Status(ctx, &controlv1.StatusRequest{})
	if err != nil {
		return err
	}
	member := map[string]bool{}
	for _, g := range groups {
		for _, m := range g.Members {
			member[m] = true
		}
	}
	failed := false
	for _, n := range st.Nodes {
		for _, w := range slices.Sorted(maps.Keys(n.WorkloadErrors)) {
			if member[w] {
				fmt.Fprintln(c.errs, c.errs.paint(yellow, w+": ")+n.WorkloadErrors[w])
				failed = true
			}
		}
	}
	if failed {
		return exitCode(1)
	}
	return nil
}
