package ssdp_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/ssdp"
)

func TestCases(t *testing.T) { parsertest.Run(t, ssdp.New(), app.SSDP, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, ssdp.New(), app.SSDP) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, ssdp.New(), app.SSDP, "testdata") }
