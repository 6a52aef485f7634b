package host

import (
	"maps"
	"slices"
	"testing"

	"github.com/sluicenet/sluice/core/counter"
)

// TestCountersAreDescribed has a host count what core/counter describes.
func TestCountersAreDescribed(t *testing.T) {
	m := map[string]uint64{}
	new(Host).Counters(m)
	if got, want := slices.Sorted(maps.Keys(m)), counter.Names("plugin."); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
