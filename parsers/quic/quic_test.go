package quic_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/quic"
)

func TestCases(t *testing.T) { parsertest.Run(t, quic.New(), app.QUIC, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, quic.New(), app.QUIC) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, quic.New(), app.QUIC, "testdata") }
