//go:build linux

package afpacket

import "testing"

// TestTurnSkips checks which socket's frame is used while a tap changes from one to another.
func TestTurnSkips(t *testing.T) {
	const cut = int64(1_700_000_000_000_000_000)
	for _, c := range []struct {
		name  string
		turn  turn
		stamp int64
		want  bool
	}{
		{"no change", turn{}, cut, false},
		{"old socket, before", turn{cut: cut}, cut - 1, false},
		{"old socket, stamped a little later than by the new one", turn{cut: cut}, cut + slack, false},
		{"old socket, after", turn{cut: cut}, cut + slack + 1, true},
		{"old socket, clock set forward", turn{cut: cut}, cut + astray, false},
		{"new socket, before", turn{from: cut}, cut - 1, true},
		{"new socket, after", turn{from: cut}, cut, false},
		{"new socket, clock set back", turn{from: cut}, cut - astray, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.turn.skips(c.stamp); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	late := turn{from: cut}
	if late.skips(cut); late.skips(cut - 1) {
		t.Error("a frame is skipped after the new socket's own have begun")
	}
}
