package zookeeper_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/zookeeper"
)

func TestCases(t *testing.T) { parsertest.Run(t, zookeeper.New(), app.ZooKeeper, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, zookeeper.New(), app.ZooKeeper) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, zookeeper.New(), app.ZooKeeper, "testdata") }
