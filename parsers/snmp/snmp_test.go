package snmp_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/snmp"
)

func TestCases(t *testing.T) { parsertest.Run(t, snmp.New(), app.SNMP, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, snmp.New(), app.SNMP) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, snmp.New(), app.SNMP, "testdata") }
