package http2_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/http2"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestCases(t *testing.T) { parsertest.Run(t, http2.New(), app.HTTP2, "testdata") }

func FuzzHTTP2(f *testing.F) { parsertest.Fuzz(f, http2.New(), app.HTTP2) }

func BenchmarkHTTP2(b *testing.B) { parsertest.Bench(b, http2.New(), app.HTTP2, "testdata") }
