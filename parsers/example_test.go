package parsers_test

import (
	"bytes"
	"fmt"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// echo recognises a protocol whose clients begin with the line "ECHO <version>".
type echo struct{}

func (echo) Name() string { return "echo" }

// Probe implements parsers.Parser: More only as long as the bytes leave it open.
func (echo) Probe(_ *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	const magic = "ECHO "
	switch {
	case dir != parsers.ToServer:
		return parsers.No
	case len(head) < len(magic) && bytes.HasPrefix([]byte(magic), head):
		return parsers.More
	case bytes.HasPrefix(head, []byte(magic)):
		return parsers.Certain
	}
	return parsers.No
}

// Open implements parsers.Parser.
func (echo) Open(_ *parsers.Meta, sink parsers.Sink) parsers.Stream { return &echoStream{sink} }

// echoStream finds the version in the first line.
type echoStream struct{ sink parsers.Sink }

// Parse implements parsers.Stream: a line that is not whole is left, and comes again with more behind it.
func (s *echoStream) Parse(_ parsers.Dir, data []byte) parsers.Result {
	line, _, whole := bytes.Cut(data, []byte("\n"))
	if !whole {
		return parsers.Result{State: parsers.Named}
	}
	s.sink.Attr(parsers.Version, bytes.TrimPrefix(line, []byte("ECHO ")))
	return parsers.Result{Used: len(data), State: parsers.Done}
}

func (*echoStream) Gap(parsers.Dir, int) bool { return false }
func (*echoStream) Close()                    {}

// printer is a sink that prints.
type printer struct{}

func (printer) App(id app.ID)                     { fmt.Println("app:", id) }
func (printer) Attr(a parsers.Attr, value []byte) { fmt.Printf("%s: %s\n", a, value) }
func (printer) Threat(id uint16, text string)     { fmt.Println("threat:", id, text) }
func (printer) Expect(e parsers.Expectation)      { fmt.Println("expects:", e.At, e.Port) }

// A parser probes the beginning of each side, and opens a stream for the session that it claims.
func ExampleParser() {
	var p parsers.Parser = echo{}
	m := &parsers.Meta{Proto: 6}
	for _, head := range []string{"EC", "ECHO 1", "GET /"} {
		fmt.Printf("%q: %v\n", head, p.Probe(m, parsers.ToServer, []byte(head)))
	}
	s := p.Open(m, printer{})
	defer s.Close()
	fmt.Println("used:", s.Parse(parsers.ToServer, []byte("ECHO 1")).Used)
	fmt.Println("used:", s.Parse(parsers.ToServer, []byte("ECHO 1.2\n")).Used)
	// Output:
	// "EC": more
	// "ECHO 1": certain
	// "GET /": no
	// used: 0
	// version: 1.2
	// used: 9
}

// A registry has each parser once for a transport, under the number of its application.
func ExampleRegistry() {
	var r parsers.Registry
	fmt.Println(r.Add(echo{}, app.FirstPlugin, parsers.TCP))
	fmt.Println(r.Add(echo{}, app.FirstPlugin, parsers.TCP) != nil)
	for _, proto := range []uint8{6, 17} {
		fmt.Println(proto, r.For(proto))
	}
	// Output:
	// <nil>
	// true
	// 6 [0]
	// 17 []
}
