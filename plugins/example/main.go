// Sluice-tally is an example of a third-party parser plugin; docs/plugins.md describes how to write one.
package main

import (
	"log"

	"example.org/sluice-tally/tally"
	"github.com/sluicenet/sluice/plugins/sdk"
)

func main() {
	log.Fatal(sdk.Serve("tally", sdk.Protocol{Parser: tally.New(), On: sdk.TCP}))
}
