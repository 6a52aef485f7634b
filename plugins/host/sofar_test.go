package host_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/plugins/host"
)

// What one plugin claims is what a session shows so far, although another plugin needs the server's
// answer: the client's bytes are delivered where policy allows the claim, and only there.
func TestClaimWhileAnotherPluginWaits(t *testing.T) {
	h := start(t, host.Config{Plugins: roles("standard", "line")})
	id, err := app.Parse("test-line")
	if err != nil {
		t.Fatal(err)
	}
	const payload = "GET some" // less surely a line, and perhaps a request of HTTP
	families(t, func(t *testing.T, v6 bool) {
		b, c := newBed(t, h, allow(id)), newConn(v6, 40000)
		b.q.give(c.open()...)
		b.q.give(c.frame(0, packet.ACK|packet.PSH, payload))
		until(t, "the client's bytes", func() bool { got, _ := b.q.seen(40000); return got == payload })
		if _, resets := b.q.seen(40000); resets != 0 {
			t.Errorf("%d resets, want none", resets)
		}
		b, c = newBed(t, h, allow(app.HTTP)), newConn(v6, 40001)
		b.q.give(c.open()...)
		b.q.give(c.frame(0, packet.ACK|packet.PSH, payload))
		until(t, "the denial at the hold limit", func() bool { return b.drain(40001).Verdict == flow.Deny })
		if got, _ := b.q.seen(40001); got != "" {
			t.Errorf("the server got %q, want nothing", got)
		}
	})
}
