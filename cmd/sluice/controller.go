package main

import (
	"fmt"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluicenet/sluice/core/policy"
)

// controllerFlags are the flags of `sluice controller`.
type controllerFlags struct {
	standaloneFlags // of which mode, logs and socket are used
	sharedFlags
	listen, advertise, name string
	metrics                 string
	metricsAsked            bool // --metrics was given
}

const controllerHelp = `Learns, decides and answers for agents on other machines. Several controllers share a Consul: one leads, the
others pass calls on to it and take its place within seconds. Agents and controllers know each other
by certificates (see ` + "`sluice certs`" + `); users connect to the unix socket of any controller's machine.

Whatever was acknowledged to an agent is in the store by then: a controller may be killed at any moment, and
the next one has it. While Consul is away it waits, and logs that.` + sharedHelp

func newController(c *cli) *cobra.Command {
	var f controllerFlags
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Run a controller for agents on other machines",
		Long:  controllerHelp,
		Example: `  sluice controller --store consul://10.0.0.1:8500,10.0.0.2:8500 --listen 10.0.0.11:9474 --tls-dir certs/ctl1
  sluice status`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.socket, f.metricsAsked = c.socket, cmd.Flags().Changed("metrics")
			return runController(cmd.Context(), &f, c.errs)
		},
	}
	host, _ := os.Hostname()
	fl := cmd.Flags()
	f.sharedFlags.add(fl)
	fl.StringVar(&f.listen, "listen", "0.0.0.0:9474", "address for agents and other controllers")
	fl.StringVar(&f.advertise, "advertise", "", "address at which others reach this controller (default that of --listen, or the host's name)")
	fl.StringVar(&f.metrics, "metrics", "127.0.0.1:9475", `address for /healthz, /readyz and /metrics; "" for none`)
	fl.StringVar(&f.name, "name", host, "name of this controller")
	fl.StringVar(&f.mode, "mode", "", modeUsage)
	fl.StringVar(&f.fail, "fail", "", failUsage)
	fl.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fl.StringVar(&f.logFormat, "log-format", "text", "text or json")
	return cmd
}

// check looks at flags that depend on nothing else.
func (f *controllerFlags) check() (policy.Mode, error) {
	m, err := f.checkMode()
	if err != nil {
		return m, err
	}
	if err := f.checkFail(); err != nil {
		return m, err
	}
	if err := f.need(); err != nil {
		return m, err
	}
	if len(f.socket) > maxSocketPath {
		return m, fmt.Errorf("the socket's path is %d bytes long, and Linux takes %d at most: give a shorter one with --socket", len(f.socket), maxSocketPath)
	}
	host, port, err := net.SplitHostPort(f.listen)
	if err != nil {
		return m, fmt.Errorf("--listen %q is not HOST:PORT", f.listen)
	}
	if f.advertise == "" {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			if host, err = os.Hostname(); err != nil {
				return m, fmt.Errorf("--advertise is missing, and this machine has no name: %w", err)
			}
		}
		f.advertise = net.JoinHostPort(host, port)
	}
	if _, _, err := net.SplitHostPort(f.advertise); err != nil {
		return m, fmt.Errorf("--advertise %q is not HOST:PORT", f.advertise)
	}
	return m, nil
}
