package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
)

const backendHelp = `Selects the backend by which a workload is enforced, and waits until its agent has applied it:
  nfqueue    by netfilter queues inside of the workload
  afpacket   by packet rings, on the host's end of its interface where it has one
  auto       takes the choice back: --backend counts, then the label sluice.net/backend, then what fits
It is changed under traffic: connections continue, and what is refused stays refused. In discover and monitor
mode copies are taken whatever is chosen, and the choice counts from protect on. It is kept
until it is taken back, over restarts too. Where the choice is unavailable, what is there stays; "sluice workloads"
shows the reason, and it is tried again. Between an application and its sidecar, on lo, there are queues only.`

func newBackend(c *cli) *cobra.Command {
	wait := 10 * time.Second
	cmd := &cobra.Command{
		Use:     "backend WORKLOAD nfqueue|afpacket|auto",
		Short:   "Select the backend by which a workload is enforced",
		Long:    backendHelp,
		Example: "  sluice workloads backend web nfqueue\n  sluice workloads backend node1/web afpacket\n  sluice workloads backend web auto",
		Args: func(cmd *cobra.Command, a []string) error {
			if len(a) != 2 {
				return fmt.Errorf("name a workload, then nfqueue, afpacket or auto: see `%s --help`", cmd.CommandPath())
			}
			return policy.CheckBackend(a[1])
		},
		RunE: func(cmd *cobra.Command, a []string) error {
			return c.call(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				return c.setBackend(ctx, cl, a[0], a[1], wait)
			})
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", wait, "how long to wait for the agent; 0 does not wait")
	return cmd
}

func (c *cli) setBackend(ctx context.Context, cl controlv1.ControlClient, workload, backend string, wait time.Duration) error {
	callCtx := ctx
	if wait > 0 {
		var cancel context.CancelFunc
		callCtx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	late := fmt.Errorf("the choice is stored, but the agent did not follow it within %s: `sluice status` shows whether it is there", wait)
	r, err := cl.SetBackend(callCtx, &controlv1.SetBackendRequest{Workload: workload, Backend: backend, Wait: wait > 0})
	if err != nil {
		if errors.Is(callCtx.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
			return late
		}
		return err
	}
	w := r.Workload
	failed := false
	for _, i := range w.GetInterfaces() {
		failed = failed || r.Enforced && i.Error != ""
	}
	if c.json() {
		if err := c.document(map[string]any{"workload": viewWorkloads([]*controlv1.Workload{w})[0], "policy": r.Policy, "enforced": r.Enforced}); err != nil {
			return err
		}
	} else {
		c.showBackend(w, backend, r.Enforced)
	}
	switch {
	case wait > 0 && !r.Enforced:
		return late
	case failed:
		return exitCode(1)
	}
	return nil
}

// showBackend shows how the interfaces of a workload are attached after a backend was chosen for it.
func (c *cli) showBackend(w *controlv1.Workload, backend string, enforced bool) {
	fmt.Fprintf(c.out, "%s: %s\n", clean(w.Name), c.out.paint(bold, backend))
	switch {
	case !enforced:
		return
	case len(w.Interfaces) == 0:
		fmt.Fprintln(c.out, "it is away now, and the choice counts when it comes back")
	}
	rows := [][]cell{}
	for _, i := range w.Interfaces {
		how := i.Backend
		if how == "" {
			how = "none"
		}
		rows = append(rows, []cell{text(i.Name), text(how), reason(i)})
	}
	if len(rows) > 0 {
		c.out.table([]string{"interface", "backend", "why"}, rows)
	}
}
