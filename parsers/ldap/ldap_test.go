package ldap_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/ldap"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestCases(t *testing.T) { parsertest.Run(t, ldap.New(), app.LDAP, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, ldap.New(), app.LDAP) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, ldap.New(), app.LDAP, "testdata") }
