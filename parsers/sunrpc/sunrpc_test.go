package sunrpc_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/sunrpc"
)

func TestCases(t *testing.T) { parsertest.Run(t, sunrpc.New(), app.SunRPC, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, sunrpc.New(), app.SunRPC) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, sunrpc.New(), app.SunRPC, "testdata") }
