package main

import (
	"fmt"
	"net"

	"github.com/spf13/cobra"
)

// agentFlags are the flags of `sluice agent`.
type agentFlags struct {
	standaloneFlags
	sharedFlags
	controllers []string
	socketAsked bool // --socket was given
}

const agentHelp = `Watches the workloads of this machine, as standalone does, and has controllers elsewhere learn and decide. It
reports to whichever controller answers, and takes its policy from the Consul that they share. The last
policy is kept in --data: while controllers and Consul are away it stays in force, after a restart too. So are
reports that no controller has taken yet: an agent that is killed loses what its last second brought, no more.

It needs root. It is stopped by SIGINT or SIGTERM and then leaves every workload as it was.` + sharedHelp

func newAgent(c *cli) *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of one machine, with controllers elsewhere",
		Long:  agentHelp,
		Example: `  sudo sluice agent --controller 10.0.0.11:9474,10.0.0.12:9474 --store consul://10.0.0.1:8500,10.0.0.2:8500 \
      --tls-dir /etc/sluice/node1 --node node1`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.socket, f.socketAsked = c.socket, cmd.Flags().Changed("socket")
			if f.socket == defaultSocket && !f.socketAsked {
				f.socket = agentSocket
			}
			return runAgent(cmd.Context(), &f, c.errs)
		},
	}
	fl := cmd.Flags()
	f.addAgentFlags(fl)
	fl.StringSliceVar(&f.controllers, "controller", nil, "addresses of controllers, HOST:PORT; several by commas")
	f.sharedFlags.add(fl)
	return cmd
}

// checkAgent looks at flags that depend on nothing else.
func (f *agentFlags) checkAgent() error {
	if _, err := f.check(); err != nil {
		return err
	}
	if len(f.controllers) == 0 {
		return fmt.Errorf("--controller is missing: give the address of at least one controller, such as 10.0.0.11:9474")
	}
	for _, a := range f.controllers {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return fmt.Errorf("--controller %q is not HOST:PORT", a)
		}
	}
	return f.need()
}
