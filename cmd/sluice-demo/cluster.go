package main

import (
	"cmp"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluicenet/sluice/internal/stage/clusterdemo"
)

const clusterHelp = `Runs three Consul servers, two controllers and two nodes with workloads, in their own network namespaces:
it learns, protects, kills the leading controller, Consul's leader and an agent under traffic, and
counts at the clients that no connection is lost, in fact or from the records.

With --chaos it instead kills and stops a random choice of them for that long, and compares the same.

It needs root and a Consul server (deploy/consul.sh builds one; make demo-cluster does all of it), touches nothing outside
of its own namespaces and leaves nothing behind. The exit code is 0 only if everything held.`

// newCluster returns the demo of several nodes with a shared store.
func newCluster(o *options) *cobra.Command {
	var consul string
	var chaos clusterdemo.Chaos
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Watch controllers and Consul servers die while several nodes are protected",
		Long:  clusterHelp,
		Example: `  sudo sluice-demo cluster --consul /usr/bin/consul
  sudo sluice-demo cluster --consul /usr/bin/consul --chaos 5m --seed 7`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			binary, err := o.program(cmd.Context())
			if err != nil {
				return err
			}
			cfg := clusterdemo.Config{Binary: binary, Consul: consul, Out: os.Stdout, Colour: coloured()}
			if o.json {
				cfg.Out = nil
			}
			run := func() (*clusterdemo.Report, error) { return clusterdemo.Run(cmd.Context(), cfg) }
			if chaos.Time > 0 {
				run = func() (*clusterdemo.Report, error) { return clusterdemo.Try(cmd.Context(), cfg, chaos) }
			}
			rep, err := run()
			if rep == nil {
				return err
			}
			if err != nil {
				rep.OK, rep.Problems = false, append(rep.Problems, err.Error())
			}
			return o.finish(rep, rep.OK, err)
		},
	}
	cmd.Flags().StringVar(&consul, "consul", cmp.Or(os.Getenv("SLUICE_CONSUL"), "consul"), "Consul server program (environment: SLUICE_CONSUL)")
	cmd.Flags().DurationVar(&chaos.Time, "chaos", 0, "kill and stop random servers, controllers and agents for this long")
	cmd.Flags().Uint64Var(&chaos.Seed, "seed", 1, "seed of what --chaos does")
	return cmd
}
