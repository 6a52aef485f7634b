package tally_test

import (
	"testing"

	"example.org/sluice-tally/tally"
	"github.com/sluicenet/sluice/plugins/sdk/sdktest"
)

func TestCases(t *testing.T) { sdktest.Run(t, tally.New(), "testdata") }

func FuzzParser(f *testing.F) { sdktest.Fuzz(f, tally.New()) }
