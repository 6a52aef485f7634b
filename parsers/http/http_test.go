package http_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/http"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestCases(t *testing.T) { parsertest.Run(t, http.New(), app.HTTP, "testdata") }

func FuzzHTTP(f *testing.F) { parsertest.Fuzz(f, http.New(), app.HTTP) }

func BenchmarkHTTP(b *testing.B) { parsertest.Bench(b, http.New(), app.HTTP, "testdata") }
