package mqtt_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/mqtt"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestCases(t *testing.T) { parsertest.Run(t, mqtt.New(), app.MQTT, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, mqtt.New(), app.MQTT) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, mqtt.New(), app.MQTT, "testdata") }
