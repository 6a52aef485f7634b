package stun_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/stun"
)

func TestCases(t *testing.T) { parsertest.Run(t, stun.New(), app.STUN, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, stun.New(), app.STUN) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, stun.New(), app.STUN, "testdata") }
