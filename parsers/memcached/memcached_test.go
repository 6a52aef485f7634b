package memcached_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/memcached"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestCases(t *testing.T) { parsertest.Run(t, memcached.New(), app.Memcached, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, memcached.New(), app.Memcached) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, memcached.New(), app.Memcached, "testdata") }
