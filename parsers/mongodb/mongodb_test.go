package mongodb_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/mongodb"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestCases(t *testing.T) { parsertest.Run(t, mongodb.New(), app.MongoDB, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, mongodb.New(), app.MongoDB) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, mongodb.New(), app.MongoDB, "testdata") }
