package cassandra_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/cassandra"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestCases(t *testing.T) { parsertest.Run(t, cassandra.New(), app.Cassandra, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, cassandra.New(), app.Cassandra) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, cassandra.New(), app.Cassandra, "testdata") }
