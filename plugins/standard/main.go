// The standard plugin serves all built-in parsers from a process of its own. `sluice plugin-standard` does the
// same in one binary; this one is for parsers in a separate file.
package main

import (
	"fmt"
	"os"

	"github.com/sluicenet/sluice/parsers/builtin"
	"github.com/sluicenet/sluice/plugins/sdk"
)

func main() {
	reg, err := builtin.Registry()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	sdk.ServeRegistry("standard", reg)
}
