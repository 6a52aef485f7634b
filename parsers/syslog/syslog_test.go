package syslog_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/syslog"
)

func TestCases(t *testing.T) { parsertest.Run(t, syslog.New(), app.Syslog, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, syslog.New(), app.Syslog) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, syslog.New(), app.Syslog, "testdata") }
