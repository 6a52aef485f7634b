package host_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/plugins/host"
)

// TestUndecidedPlugin: a plugin that always wants more bytes neither lets through what others do not allow, however
// long it takes, nor delays what others name with certainty.
func TestUndecidedPlugin(t *testing.T) {
	h := start(t, host.Config{Plugins: roles("standard", "undecided")})
	ping := "*1\r\n$4\r\nPING\r\n"
	for _, pause := range []time.Duration{0, 400 * time.Millisecond} {
		families(t, func(t *testing.T, v6 bool) {
			b := newBedOf(t, h, policy.WorkloadSpec{Mode: policy.Protect, Hold: time.Second}, allow(app.HTTP))
			bad, text, good := newConn(v6, 40000), newConn(v6, 40001), newConn(v6, 40002)
			for _, c := range []*conn{bad, text, good} {
				b.q.give(c.open()...)
			}
			begin := time.Now()
			b.q.give(good.frame(0, packet.ACK|packet.PSH, request))
			until(t, "what is allowed", func() bool { got, _ := b.q.seen(40002); b.q.Wake(); return got == request })
			if took := time.Since(begin); took > 900*time.Millisecond {
				t.Errorf("what is allowed took %s, the hold time or more", took)
			}
			for i := range 6 {
				b.q.give(bad.frame(0, packet.ACK|packet.PSH, ping[2*i:2*i+2]))
				b.q.give(text.frame(0, packet.ACK|packet.PSH, fmt.Sprintln("no protocol", i)))
				time.Sleep(pause)
			}
			for _, client := range []uint16{40000, 40001} {
				until(t, "the denial", func() bool { return b.drain(client).Verdict == flow.Deny })
				until(t, "resets", func() bool { _, n := b.q.seen(client); b.q.Wake(); return n >= 2 })
				if got, _ := b.q.seen(client); got != "" {
					t.Errorf("the server of %d got %q, want nothing", client, got)
				}
			}
		})
	}
}
