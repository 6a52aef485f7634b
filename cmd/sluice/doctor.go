package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// check is the result for one requirement or recommendation of Sluice for a machine.
type check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Essential: without it nothing works.
	Essential bool   `json:"essential"`
	Detail    string `json:"detail"`
	Cost      string `json:"cost,omitempty"` // what its absence costs
	Fix       string `json:"fix,omitempty"`  // what to do about it
}

func newDoctor(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check what this machine can do, and what is missing",
		Long: `Checks rights, kernel features and modules, each by using it in a network namespace made for the purpose.
For each one that is missing it shows the consequence and what to do. The exit code is 1 only when
something essential is missing. Run it as root.`,
		Example: "  sudo sluice doctor\n  sudo sluice doctor -o json",
		Args:    args(),
		RunE: func(*cobra.Command, []string) error {
			checks := machineChecks()
			ok := true
			for _, k := range checks {
				ok = ok && (k.OK || !k.Essential)
			}
			if c.json() {
				if err := c.document(map[string]any{"ok": ok, "checks": checks}); err != nil {
					return err
				}
			} else {
				c.showChecks(checks, ok)
			}
			if !ok {
				return exitCode(1)
			}
			return nil
		},
	}
}

func (c *cli) showChecks(checks []check, ok bool) {
	rows := [][]cell{}
	for _, k := range checks {
		mark := cell{text: "ok", colour: green}
		if !k.OK {
			mark = cell{text: "missing", colour: yellow}
			if k.Essential {
				mark.colour = red
			}
		}
		rows = append(rows, []cell{mark, text(k.Name), faint(k.Detail)})
	}
	c.out.table([]string{"", "check", "found"}, rows)
	for _, k := range checks {
		if !k.OK {
			fmt.Fprintf(c.out, "\n%s is missing: %s.\n  What to do: %s.\n", c.out.paint(bold, k.Name), k.Cost, k.Fix)
		}
	}
	if ok {
		fmt.Fprintln(c.out, "\nSluice can run here: start it with `sluice standalone`.")
	} else {
		fmt.Fprintln(c.out, "\nSluice cannot run here yet.")
	}
}
