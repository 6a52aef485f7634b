package uplink_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/sluicenet/sluice/agent/uplink"
	"github.com/sluicenet/sluice/core/counter"
)

// TestCountersAreDescribed has the uplink count what core/counter describes.
func TestCountersAreDescribed(t *testing.T) {
	got := slices.Sorted(maps.Keys(new(uplink.Stats).Counters()))
	if want := counter.Names("uplink."); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
