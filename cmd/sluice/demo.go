package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
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

func newDemo(c *cli) *cobra.Command {
	var once, asJSON bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch Sluice learn and protect a lab of its own",
		Long:  demoHelp,
		Example: `  sudo sluice demo
  sudo sluice demo --once --json`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := preflight(); err != nil {
				return err
			}
			binary, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find the sluice program: %w", err)
			}
			cfg := demo.Config{Binary: binary, Out: c.out, Colour: c.out.colour, Live: c.out.colour && !once}
			asJSON = asJSON || c.json()
			if asJSON {
				cfg.Out = nil
			}
			if person := term.IsTerminal(int(os.Stdin.Fd())) && c.out.colour; person && !once && !asJSON {
				cfg.Pause = func() { time.Sleep(1500 * time.Millisecond) }
				cfg.Wait = func() { waitForEnter(cmd.Context(), c.out) }
			}
			rep, err := demo.Run(cmd.Context(), cfg)
			if rep == nil {
				return err
			}
			if err != nil {
				rep.OK, rep.Problems = false, append(rep.Problems, err.Error())
			}
			return c.closeDemo(rep, rep.OK, asJSON, err)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "run once without pauses and without a terminal")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object at the end instead of the story")
	return cmd
}

// lookAround is how long the lab stays for people to look at.
const lookAround = 2 * time.Minute

// waitForEnter waits until somebody presses Enter, or nobody has for a while.
func waitForEnter(ctx context.Context, out *screen) {
	fmt.Fprintf(out, "   Press Enter to take the lab down; it goes by itself in %.0f minutes. ", lookAround.Minutes())
	pressed := make(chan struct{})
	go func() { // ends with the process: a read of the terminal cannot be called off
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		close(pressed)
	}()
	select {
	case <-pressed:
	case <-ctx.Done():
	case <-time.After(lookAround):
	}
	fmt.Fprintln(out)
}

// closeDemo ends a demo that has something to report: as one JSON object where that was asked for, and by
// its exit code.
func (c *cli) closeDemo(report any, ok, asJSON bool, err error) error {
	if asJSON {
		if jerr := json.NewEncoder(c.out).Encode(report); jerr != nil {
			return jerr
		}
	}
	if err == nil && !ok {
		return exitCode(1)
	}
	return err
}
