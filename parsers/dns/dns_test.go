package dns_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/dns"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestCases(t *testing.T) { parsertest.Run(t, dns.New(), app.DNS, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, dns.New(), app.DNS) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, dns.New(), app.DNS, "testdata") }

func TestMDNS(t *testing.T) { parsertest.Run(t, dns.NewMDNS(), app.MDNS, "testdata/mdns") }

func TestLLMNR(t *testing.T) { parsertest.Run(t, dns.NewLLMNR(), app.LLMNR, "testdata/llmnr") }

func FuzzMDNS(f *testing.F) { parsertest.Fuzz(f, dns.NewMDNS(), app.MDNS) }
