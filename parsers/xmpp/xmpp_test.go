package xmpp_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/xmpp"
)

func TestCases(t *testing.T) { parsertest.Run(t, xmpp.New(), app.XMPP, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, xmpp.New(), app.XMPP) }

func BenchmarkParser(b *testing.B) { parsertest.Bench(b, xmpp.New(), app.XMPP, "testdata") }
