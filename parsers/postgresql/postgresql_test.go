package postgresql_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/postgresql"
)

func TestCases(t *testing.T) { parsertest.Run(t, postgresql.New(), app.PostgreSQL, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, postgresql.New(), app.PostgreSQL) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, postgresql.New(), app.PostgreSQL, "testdata") }
