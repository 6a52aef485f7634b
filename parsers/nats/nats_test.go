package nats_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/nats"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestCases(t *testing.T) { parsertest.Run(t, nats.New(), app.NATS, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, nats.New(), app.NATS) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, nats.New(), app.NATS, "testdata") }
