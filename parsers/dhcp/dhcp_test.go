package dhcp_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/dhcp"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestCases(t *testing.T) { parsertest.Run(t, dhcp.New(), app.DHCP, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, dhcp.New(), app.DHCP) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, dhcp.New(), app.DHCP, "testdata") }

func TestV6(t *testing.T) { parsertest.Run(t, dhcp.NewV6(), app.DHCPv6, "testdata/v6") }

func FuzzV6(f *testing.F) { parsertest.Fuzz(f, dhcp.NewV6(), app.DHCPv6) }
