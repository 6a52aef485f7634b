package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluicenet/sluice/internal/stage/clusterdemo"
)

const demoClusterHelp = `Runs three Consul servers, two controllers and two nodes with workloads, in network namespaces of its own:
it learns, protects, kills the leading controller, Consul's leader and an agent under traffic, and
counts at the clients that no connection is lost, in fact or from the records.

With --chaos it instead kills and stops whatever chance says for so long, and compares the same.

It needs root and a Consul server (deploy/consul.sh builds one; make demo-cluster does all of it), touches nothing outside
of its own namespaces and leaves nothing behind. The exit code is 0 only if everything held.`

func newDemoCluster(c *cli) *cobra.Command {
	var consul string
	var asJSON bool
	var chaos clusterdemo.Chaos
	cmd := &cobra.Command{
		Use:   "demo-cluster",
		Short: "Watch controllers and Consul servers die while several nodes are protected",
		Long:  demoClusterHelp,
		Example: `  sudo sluice demo-cluster --consul /usr/bin/consul
  sudo sluice demo-cluster --consul /usr/bin/consul --chaos 5m --seed 7`,
		Hidden: true, // it needs a server that is no part of Sluice
		Args:   args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := preflight(); err != nil {
				return err
			}
			binary, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find the sluice program: %w", err)
			}
			cfg := clusterdemo.Config{Binary: binary, Consul: consul, Out: c.out, Colour: c.out.colour}
			if asJSON = asJSON || c.json(); asJSON {
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
			return c.closeDemo(rep, rep.OK, asJSON, err)
		},
	}
	cmd.Flags().StringVar(&consul, "consul", envOr("SLUICE_CONSUL", "consul"), "Consul server program (environment: SLUICE_CONSUL)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object at the end instead of the story")
	cmd.Flags().DurationVar(&chaos.Time, "chaos", 0, "let chance kill and stop servers, controllers and agents for so long")
	cmd.Flags().Uint64Var(&chaos.Seed, "seed", 1, "what --chaos begins from")
	return cmd
}
