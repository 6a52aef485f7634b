package redis_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/redis"
)

func TestCases(t *testing.T) { parsertest.Run(t, redis.New(), app.Redis, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, redis.New(), app.Redis) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, redis.New(), app.Redis, "testdata") }
