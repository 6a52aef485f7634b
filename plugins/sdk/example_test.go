package sdk_test

import (
	"bytes"
	"fmt"
	"log"

	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/plugins/sdk"
)

// tally recognises a protocol of one's own by its first word.
type tally struct{}

func (tally) Name() string { return "tally" }

func (tally) Probe(_ *parsers.Meta, _ parsers.Dir, head []byte) parsers.Match {
	const magic = "TALLY "
	if n := min(len(head), len(magic)); string(head[:n]) != magic[:n] {
		return parsers.No
	} else if n < len(magic) {
		return parsers.More
	}
	return parsers.Certain
}

func (tally) Open(*parsers.Meta, parsers.Sink) parsers.Stream { return tallyStream{} }

type tallyStream struct{}

func (tallyStream) Parse(_ parsers.Dir, data []byte) parsers.Result {
	return parsers.Result{Used: len(data), State: parsers.Done}
}
func (tallyStream) Gap(parsers.Dir, int) bool { return false }
func (tallyStream) Close()                    {}

// The main function of a plugin is log.Fatal(sdk.Serve(name, protocols...)). Serve returns only if a protocol
// cannot be served, as here, where one is given twice.
func ExampleServe() {
	protocol := sdk.Protocol{Parser: tally{}, On: sdk.TCP}
	fmt.Println(sdk.Serve("example", protocol, protocol))
	// Output: plugin example: parser tally: number 10000 is taken by tally
}

// Registry numbers protocols by their names: a listed one has its own number, a new one a number of this process.
func ExampleRegistry() {
	reg, err := sdk.Registry(sdk.Protocol{Parser: tally{}, On: sdk.TCP})
	if err != nil {
		log.Fatal(err)
	}
	for _, i := range reg.For(6) {
		p := reg.Entry(i).Parser
		fmt.Println(p.Name(), p.Probe(&parsers.Meta{Proto: 6}, parsers.ToServer, bytes.Repeat([]byte("TALLY "), 2)))
	}
	// Output: tally certain
}
