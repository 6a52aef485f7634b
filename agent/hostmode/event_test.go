package hostmode

import (
	"testing"
	"unsafe"
)

// TestEventLayout holds the Go type to bpf/sockets.c.
func TestEventLayout(t *testing.T) {
	var e socketsEvent
	tests := []struct {
		name      string
		got, want uintptr
	}{
		{"size", unsafe.Sizeof(e), 104}, {"netns", unsafe.Offsetof(e.Netns), 32}, {"owner", unsafe.Offsetof(e.Owner), 40}, {"local", unsafe.Offsetof(e.Local), 64},
		{"remote", unsafe.Offsetof(e.Remote), 80}, {"local port", unsafe.Offsetof(e.LocalPort), 96}, {"now", unsafe.Offsetof(e.Now), 102},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, tt.got, tt.want)
		}
	}
	if e.decode(make([]byte, 103)) || !e.decode(make([]byte, 104)) {
		t.Error("a short event is taken, or a whole one is not")
	}
}
