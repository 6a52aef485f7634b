// Says is a parser plugin for tests: it writes to its streams before and after it serves, and panics, writes or ends as the
// first line of a client asks.
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"

	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/plugins/sdk"
)

type parser struct{}

// Name implements parsers.Parser.
func (parser) Name() string { return "says" }

// Probe implements parsers.Parser.
func (parser) Probe(_ *parsers.Meta, _ parsers.Dir, head []byte) parsers.Match {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	switch string(line) {
	case "SAYS":
		return parsers.Certain
	case "PANIC":
		_ = head[len(head)]
	case "WRITE":
		fmt.Println("stdout after")
		fmt.Fprintln(os.Stderr, "stderr after")
	case "EXIT":
		fmt.Fprintln(os.Stderr, "last words")
		os.Exit(4)
	}
	return parsers.No
}

// Open implements parsers.Parser.
func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

// Tell implements parsers.Teller.
func (parser) Tell(*parsers.Meta, parsers.Dir, []byte, parsers.Sink) {}

func main() {
	fmt.Println("stdout before")
	log.Print("stderr before")
	log.Fatal(sdk.Serve("says", sdk.Protocol{Parser: parser{}, On: sdk.TCP}))
}
