package netbios_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/netbios"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestCases(t *testing.T) { parsertest.Run(t, netbios.New(), app.NetBIOS, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, netbios.New(), app.NetBIOS) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, netbios.New(), app.NetBIOS, "testdata") }
