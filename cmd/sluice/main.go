// Sluice is the one program of the project: the dataplane with its agent and controller
// (`sluice standalone`) and the tools that talk to it. This package is flags, output and
// composition only; what is done is done in the packages that it puts together.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker: -X main.version=...
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], terminal(os.Stdout), terminal(os.Stderr))
	stop()
	os.Exit(code)
}

// run executes one command line and gives its exit code.
func run(ctx context.Context, args []string, out, errs *screen) int {
	root := newRoot(out, errs)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	fmt.Fprintln(errs, errs.paint(red, "error: ")+err.Error())
	return 1
}

// exitCode ends the program with a code when all output has been written.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }
