package agent

import "testing"

// TestEndpointIDs: an interface keeps its number, also under another name; once all were assigned, those of existing
// endpoints are not assigned again.
func TestEndpointIDs(t *testing.T) {
	used := map[uint32]bool{1: true, 3: true}
	n := newEndpointIDs(func() map[uint32]bool { return used })
	n.max = 4
	if a, b, c := n.of("web", "eth0"), n.of("web", "eth1"), n.of("web", "eth0"); a != 1 || b != 2 || c != a {
		t.Errorf("numbers %d, %d, %d", a, b, c)
	}
	n.set("web", "net0", 1)
	if got := n.of("web", "net0"); got != 1 {
		t.Errorf("after its renaming: %d, want 1", got)
	}
	if got := n.renew("web", "eth0"); got != 3 {
		t.Errorf("renewed: %d, want 3", got)
	}
	if got := n.of("db", "eth0"); got != 4 {
		t.Errorf("the last one: %d, want 4", got)
	}
	if a, b := n.of("db", "eth1"), n.of("db", "eth2"); a != 2 || b != 3 {
		t.Errorf("from the beginning: %d and %d, want 2 and 3", a, b)
	}
}
