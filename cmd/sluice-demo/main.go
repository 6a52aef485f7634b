// Sluice-demo shows what Sluice does, in machines of its own: network namespaces with real servers and clients,
// over which it runs the sluice program as an operator would. It is a program of its own, so that
// none of these servers is part of the product.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// errHeld ends the program with exit code 1 after its report with the reason.
var errHeld = errors.New("something did not hold")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	if !errors.Is(err, errHeld) {
		fmt.Fprintln(os.Stderr, "error: "+err.Error())
	}
	os.Exit(1)
}

// options are the flags of both demos.
type options struct {
	sluice string
	json   bool
}

func newRoot() *cobra.Command {
	o := &options{}
	root := newDemo(o)
	root.SilenceUsage, root.SilenceErrors = true, true
	root.SetOut(os.Stdout)
	root.PersistentFlags().StringVar(&o.sluice, "sluice", "", "sluice program to run (default: sluice in this program's folder)")
	root.PersistentFlags().BoolVar(&o.json, "json", false, "print one JSON object at the end instead of the story")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: see `%s --help`", err, cmd.CommandPath())
	})
	root.AddCommand(newCluster(o))
	return root
}

// noArgs refuses positional arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("unexpected argument %q: see `%s --help`", args[0], cmd.CommandPath())
}

// program returns the path of the sluice program, once that program reports that it can run on this machine.
func (o *options) program(ctx context.Context) (string, error) {
	path := o.sluice
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find the sluice program: %w: name it with --sluice", err)
		}
		path = filepath.Join(filepath.Dir(self), "sluice")
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find the sluice program: %w: build it with `make build`, or name it with --sluice", err)
	}
	if os.Geteuid() != 0 {
		return "", errors.New("the demo makes network namespaces, which needs root: start it with sudo")
	}
	return path, canRun(ctx, path)
}

// canRun asks `sluice doctor` for what this machine lacks.
func canRun(ctx context.Context, sluice string) error {
	out, err := exec.CommandContext(ctx, sluice, "doctor", "-o", "json").Output()
	if err == nil {
		return nil
	}
	var found struct {
		Checks []struct {
			Name, Detail, Fix string
			OK, Essential     bool
		}
	}
	if json.Unmarshal(out, &found) != nil {
		return fmt.Errorf("run %s doctor: %w", sluice, err)
	}
	var lacks []string
	for _, c := range found.Checks {
		if c.Essential && !c.OK {
			lacks = append(lacks, fmt.Sprintf("%s (%s): %s", c.Name, c.Detail, c.Fix))
		}
	}
	return fmt.Errorf("Sluice cannot run on this machine; missing are\n  %s", strings.Join(lacks, "\n  "))
}

// finish prints the report if it was requested as JSON, and returns what the program ends with.
func (o *options) finish(report any, ok bool, err error) error {
	if o.json {
		if jerr := json.NewEncoder(os.Stdout).Encode(report); jerr != nil {
			return jerr
		}
	}
	if err == nil && !ok {
		return errHeld
	}
	return err
}

// coloured reports whether standard output is a terminal that shows colours.
func coloured() bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(os.Stdout.Fd()))
}

// lookAround is how long the lab is kept for inspection.
const lookAround = 2 * time.Minute

// waitForEnter waits until a user presses Enter, or for a while.
func waitForEnter(ctx context.Context) {
	fmt.Printf("   Press Enter to remove the lab; it is removed without that in %.0f minutes. ", lookAround.Minutes())
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
	fmt.Println()
}
