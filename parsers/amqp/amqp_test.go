package amqp_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/amqp"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestCases(t *testing.T) { parsertest.Run(t, amqp.New(), app.AMQP, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, amqp.New(), app.AMQP) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, amqp.New(), app.AMQP, "testdata") }
