// Sluice-tally is a parser plugin of somebody else, as docs/plugins.md tells how to write one.
package main

import (
	"log"

	"example.org/sluice-tally/tally"
	"github.com/sluicenet/sluice/plugins/sdk"
)

func main() {
	log.Fatal(sdk.Serve("tally", sdk.Protocol{Parser: tally.New(), On: sdk.TCP}))
}
