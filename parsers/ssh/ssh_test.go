package ssh_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/parsertest"
	"github.com/sluicenet/sluice/parsers/ssh"
)

func TestCases(t *testing.T) { parsertest.Run(t, ssh.New(), app.SSH, "testdata") }

func FuzzParser(f *testing.F) { parsertest.Fuzz(f, ssh.New(), app.SSH) }

func BenchmarkCases(b *testing.B) { parsertest.Bench(b, ssh.New(), app.SSH, "testdata") }
