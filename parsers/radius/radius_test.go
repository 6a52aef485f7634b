package radius_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/radius"
)

func TestCases(t *testing.T) { parsertest.Run(t, radius.New(), app.RADIUS, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, radius.New(), app.RADIUS) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, radius.New(), app.RADIUS, "testdata") }
