package afpacket

import (
	"slices"
	"testing"

	"github.com/sluicenet/sluice/core/counter"
)

// TestCountersAreDescribed checks that the steering program's counters are described in
// core/counter.
func TestCountersAreDescribed(t *testing.T) {
	var got []string
	for _, n := range counterNames {
		got = append(got, "steering."+n)
	}
	slices.Sort(got)
	if want := counter.Names("steering."); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
