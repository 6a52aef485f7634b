package mysql_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/mysql"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestCases(t *testing.T) { parsertest.Run(t, mysql.New(), app.MySQL, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, mysql.New(), app.MySQL) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, mysql.New(), app.MySQL, "testdata") }
