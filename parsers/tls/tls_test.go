package tls_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/tls"
)

func TestCases(t *testing.T) { parsertest.Run(t, tls.New(), app.TLS, "testdata") }

func FuzzTLS(f *testing.F) { parsertest.Fuzz(f, tls.New(), app.TLS) }

func BenchmarkTLS(b *testing.B) { parsertest.Bench(b, tls.New(), app.TLS, "testdata") }
