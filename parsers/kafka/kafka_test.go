package kafka_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/kafka"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestCases(t *testing.T) { parsertest.Run(t, kafka.New(), app.Kafka, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, kafka.New(), app.Kafka) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, kafka.New(), app.Kafka, "testdata") }
