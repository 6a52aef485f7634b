package afpacket

import "testing"

// TestEndpointSet: a change replaces the map, so that who reads the previous one is not disturbed.
func TestEndpointSet(t *testing.T) {
	var e endpointSet
	e.current.Store(&map[uint32]known{})
	e.add(1, known{open: true})
	before := e.all()
	e.add(2, known{mac: [6]byte{2}})
	e.remove(1)
	if len(before) != 1 || !before[1].open {
		t.Errorf("the previous endpoints were changed: %v", before)
	}
	if len(e.all()) != 1 || e.get(2).mac != [6]byte{2} || e.get(1).open {
		t.Errorf("endpoints %v", e.all())
	}
}
