package hostmode

import (
	"maps"
	"slices"
	"testing"

	"github.com/sluicenet/sluice/core/counter"
)

// TestCountersAreDescribed has a watcher count what core/counter describes.
func TestCountersAreDescribed(t *testing.T) {
	got := slices.Sorted(maps.Keys(New(Config{}).Counters()))
	if want := counter.Names("hostmode."); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
