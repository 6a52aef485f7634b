package host_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/plugins/host"
)

// TestShows: which applications show in any datagram is known by what plugins say of their parsers.
func TestShows(t *testing.T) {
	h := start(t, host.Config{Plugins: roles("standard", "undecided", "line")})
	r := h.Remote(func() {})
	defer r.Stop()
	own, err := app.Parse(undecided{}.Name())
	if err != nil {
		t.Fatal(err)
	}
	for a, want := range map[app.ID]bool{app.NTP: true, app.DNS: true, app.HTTP: true, app.QUIC: false, app.SIP: false, own: false} {
		if got := r.(detect.Shower).Shows(a); got != want {
			t.Errorf("%s: got %v, want %v", a, got, want)
		}
	}
}
