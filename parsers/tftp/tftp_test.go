package tftp_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/tftp"
)

func TestCases(t *testing.T) { parsertest.Run(t, tftp.New(), app.TFTP, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, tftp.New(), app.TFTP) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, tftp.New(), app.TFTP, "testdata") }
