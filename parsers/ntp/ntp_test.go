package ntp_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/ntp"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestCases(t *testing.T) { parsertest.Run(t, ntp.New(), app.NTP, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, ntp.New(), app.NTP) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, ntp.New(), app.NTP, "testdata") }
