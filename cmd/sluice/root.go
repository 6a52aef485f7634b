package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

const (
	defaultSocket = "/run/sluice/sluice.sock"
	agentSocket   = "/run/sluice/agent.sock" // of `sluice agent`, which answers for its machine only
)

// Roles of a process, as status shows them.
const (
	roleStandalone = "standalone"
	roleController = "controller"
	roleAgent      = "agent"
)

// cli is what commands share: where to write, and the flags that every command has.
type cli struct {
	out, errs *screen
	socket    string
	output    string
}

func newRoot(out, errs *screen) *cobra.Command {
	c := &cli{out: out, errs: errs}
	root := &cobra.Command{
		Use:   "sluice",
		Short: "Learn which connections workloads make, then refuse everything else",
		Long: `Sluice learns each workload's connections from its packets and turns them into rules.
  1. sluice standalone                watches every network namespace of this machine (as root)
  2. sluice connections               shows who talks to whom, and in which protocol
  3. sluice mode set web protect      lets through what was learned, refuses the rest
  4. sluice violations                shows what was refused, sluice why explains by which rule
  5. sluice rules add ...             allows or denies what was not learned`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, a []string) error {
			if len(a) == 0 {
				return cmd.Help()
			}
			return noCommand(cmd, a)
		},
		SuggestionsMinimumDistance: 2,
	}
	root.SetOut(out)
	root.SetErr(errs)
	root.PersistentFlags().StringVar(&c.socket, "socket", envOr("SLUICE_SOCKET", defaultSocket), "unix socket of the daemon (environment: SLUICE_SOCKET)")
	root.PersistentFlags().StringVarP(&c.output, "output", "o", "table", "table or json")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if c.output != "table" && c.output != "json" {
			return fmt.Errorf("there is no output %q: use -o table or -o json", c.output)
		}
		return nil
	}
	root.AddCommand(
		newStandalone(c), newAgent(c), newController(c), newCerts(c), newStatus(c), newWorkloads(c), newGroups(c), newRules(c), newConnections(c), newViolations(c),
		newPlugins(c), newMode(c), newObserve(c), newWhy(c), newDoctor(c), newVersion(c), newReplay(c), newStandardPlugin(),
	)
	root.AddCommand(newThreats(c), newFail(c), newHold(c), newStore(c))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: see `%s --help`", err, cmd.CommandPath())
	})
	return root
}

func envOr(key, def string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return def
}

// json reports whether the output is to be JSON.
func (c *cli) json() bool { return c.output == "json" }

// document writes one JSON document.
func (c *cli) document(v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// list returns an empty list as [] rather than null.
func list[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}
