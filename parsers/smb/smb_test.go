package smb_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/smb"
)

func TestCases(t *testing.T) { parsertest.Run(t, smb.New(), app.SMB, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, smb.New(), app.SMB) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, smb.New(), app.SMB, "testdata") }
