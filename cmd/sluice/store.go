package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// newStore returns `sluice store`, which accepts a store that was emptied, replaced or restored.
func newStore(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Accept a store that was lost, replaced or set back",
		Long: `Agents keep a policy that protects in force where the store no longer has it in its history: the store
is empty, is another one, or was set back to an older state. Restore the store from a backup, and they follow it
again. Or make groups, modes and rules as they should be, and accept the store.`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStoreAccept(c))
	return cmd
}

func newStoreAccept(c *cli) *cobra.Command {
	wait := 10 * time.Second
	cmd := &cobra.Command{
		Use:   "accept [NODE...]",
		Short: "Enforce the store's policy instead of the one that agents hold",
		Long: `Has agents that hold an older policy enforce that of the store, also where it protects less: all of them, or
those of the given nodes. "sluice status" shows which agents hold a policy, and why.`,
		Example: "  sluice store accept\n  sluice store accept node7",
		Args:    func(*cobra.Command, []string) error { return nil },
		RunE: func(cmd *cobra.Command, nodes []string) error {
			return c.call(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				return c.acceptStore(ctx, cl, nodes, wait)
			})
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", wait, "how long to wait for the agents; 0 does not wait")
	return cmd
}

func (c *cli) acceptStore(ctx context.Context, cl controlv1.ControlClient, nodes []string, wait time.Duration) error {
	callCtx := ctx
	if wait > 0 {
		var cancel context.CancelFunc
		callCtx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	r, err := cl.AcceptStore(callCtx, &controlv1.AcceptStoreRequest{Nodes: nodes, Wait: wait > 0})
	if err != nil {
		return err
	}
	if c.json() {
		if err := c.document(map[string]any{"nodes": list(r.Nodes), "policy": r.Policy, "enforced": r.Enforced}); err != nil {
			return err
		}
	} else if len(r.Nodes) == 0 {
		fmt.Fprintln(c.out, "nothing to accept: no agent holds another policy")
	} else {
		fmt.Fprintf(c.out, "accepted, policy %d is for the agents of %s\n", r.Policy, strings.Join(r.Nodes, ", "))
	}
	if len(r.Nodes) > 0 && wait > 0 && !r.Enforced {
		return fmt.Errorf("the store is accepted, but not every agent enforced its policy within %s: `sluice status` shows which one is behind", wait)
	}
	return nil
}
