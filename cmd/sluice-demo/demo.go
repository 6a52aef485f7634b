package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sluicenet/sluice/internal/stage/demo"
)

const demoHelp = `Builds a small lab in network namespaces (web, api, db, cache, dns and an intruder, with
real protocols over IPv4 and IPv6), runs "sluice standalone" over it, and shows the main job: it
learns the lab's connections, makes rules of them, protects the lab without breaking a connection,
and refuses what was not learned.

It needs root, touches nothing outside of its own namespaces, and leaves nothing behind. The exit
code is 0 only if everything held.`

// newDemo returns the demo on one machine.
func newDemo(o *options) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "sluice-demo",
		Short: "Watch Sluice learn and protect a lab",
		Long:  demoHelp,
		Example: `  sudo sluice-demo
  sudo sluice-demo --once --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			binary, err := o.program(cmd.Context())
			if err != nil {
				return err
			}
			colour := coloured()
			cfg := demo.Config{Binary: binary, Out: os.Stdout, Colour: colour, Live: colour && !once}
			if o.json {
				cfg.Out = nil
			}
			if person := term.IsTerminal(int(os.Stdin.Fd())) && colour; person && !once && !o.json {
				cfg.Pause = func() { time.Sleep(1500 * time.Millisecond) }
				cfg.Wait = func() { waitForEnter(cmd.Context()) }
			}
			rep, err := demo.Run(cmd.Context(), cfg)
			if rep == nil {
				return err
			}
			if err != nil {
				rep.OK, rep.Problems = false, append(rep.Problems, err.Error())
			}
			return o.finish(rep, rep.OK, err)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "run once without pauses and without a terminal")
	return cmd
}
