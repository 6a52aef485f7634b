package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
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
those that the new mode refuses.`,
		Example: "  sluice mode set web protect\n  sluice mode set web api db monitor\n  sluice mode set all discover",
		Args: func(cmd *cobra.Command, a []string) error {
			if len(a) < 2 {
				return fmt.Errorf("name at least one group (or all), then the mode: see `%s --help`", cmd.CommandPath())
			}
			_, err := policy.ParseMode(a[len(a)-1])
			return err
		},
		RunE: func(cmd *cobra.Command, a []string) error {
			return c.ask(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				return c.setMode(ctx, cl, a[:len(a)-1], a[len(a)-1], wait)
			})
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", wait, "how long to wait for the agents; 0 does not wait")
	return cmd
}

func (c *cli) setMode(ctx context.Context, cl controlv1.ControlClient, groups []string, mode string, wait time.Duration) error {
	callCtx := ctx
	if wait > 0 {
		var cancel context.CancelFunc
		callCtx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	begin := time.Now()
	r, err := cl.SetMode(callCtx, &controlv1.SetModeRequest{Groups: groups, Mode: mode, Wait: wait > 0})
	took := time.Since(begin)
	if err != nil && callCtx.Err() != nil && ctx.Err() == nil {
		return c.notEnforced(wait)
	}
	if err != nil {
		return err
	}
	views := []groupView{}
	for _, g := range r.Groups {
		views = append(views, viewGroup(g))
	}
	if c.json() {
		if err := c.document(map[string]any{"groups": views, "mode": mode, "policy": r.Policy, "enforced": r.Enforced, "ms": took.Milliseconds()}); err != nil {
			return err
		}
	} else {
		for _, g := range views {
			fmt.Fprintf(c.out, "%s: %s%s\n", g.Name, c.out.paint(verdictColour(mode), mode), noteAfter(g.Note))
		}
		if len(views) == 0 {
			fmt.Fprintf(c.out, "nothing to change: already in %s\n", mode)
		}
		if r.Enforced {
			fmt.Fprintf(c.out, "enforced after %d ms (policy %d)\n", took.Milliseconds(), r.Policy)
		}
	}
	if wait > 0 && !r.Enforced {
		return c.notEnforced(wait)
	}
	return c.warnMembers(ctx, cl, views)
}

// noteAfter is a note to stand behind something.
func noteAfter(note string) string {
	if note == "" {
		return ""
	}
	return " (" + note + ")"
}

func (c *cli) notEnforced(wait time.Duration) error {
	return fmt.Errorf("the mode is stored, but not every agent enforced it within %s: `sluice status` says which one is behind", wait)
}

// warnMembers says which members of changed groups could not be attached as their mode wants.
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
