// The standard plugin serves every parser that comes with Sluice from a process of its own. `sluice plugin-standard`
// is the same, so that one binary is enough; this one is for those who
// want parsers in a file apart.
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
