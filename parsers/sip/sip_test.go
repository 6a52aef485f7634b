package sip_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/sip"
)

func TestCases(t *testing.T) { parsertest.Run(t, sip.New(), app.SIP, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, sip.New(), app.SIP) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, sip.New(), app.SIP, "testdata") }

func TestRTSP(t *testing.T) { parsertest.Run(t, sip.NewRTSP(), app.RTSP, "testdata/rtsp") }

func FuzzRTSP(f *testing.F) { parsertest.Fuzz(f, sip.NewRTSP(), app.RTSP) }
