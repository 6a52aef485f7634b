package sidecar_test

import (
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/sidecar"
)

// outward returns the record of a session that leaves the workload.
func outward(client, server string, a app.ID) *flow.Record {
	return &flow.Record{Key: flow.Key{Client: addr(client), Server: addr(server), ClientPort: 40000, ServerPort: 8080, Proto: packet.ProtoTCP,
		IPv6: netip.MustParseAddr(client).Is6()}, Dir: packet.Egress, App: uint16(a), Base: uint16(a), Verdict: flow.Allow, Reason: flow.ByRule}
}

// TestOutside has sessions on lo, each with what is outside.
func TestOutside(t *testing.T) {
	for _, f := range families {
		loop := map[string]string{"IPv4": "127.0.0.1", "IPv6": "::1"}[f.name]
		http := func() *flow.Record { return outward(f.own, f.peer, app.HTTP) }
		decided := func(v flow.Verdict, by flow.Reason, r *flow.Record) *flow.Record {
			r.Verdict, r.Reason = v, by
			return r
		}
		inward := func(client string) *flow.Record {
			r := outward(client, f.own, app.HTTP)
			r.Dir = packet.Ingress
			return r
		}
		udp := http()
		udp.Proto = packet.ProtoUDP
		const nothing, name, whole = sidecar.Nothing, sidecar.NameOnly, sidecar.Whole
		for _, tt := range []struct {
			name    string
			outside *flow.Record
			lo      *flow.Record
			waits   bool
			want    sidecar.Part
		}{
			{"the same outside", http(), http(), false, nothing},
			{"by another name outside", outward(f.own, f.peer, app.HTTP2), http(), true, name},
			{"without a name outside", outward(f.own, f.peer, app.Undecided), http(), true, name},
			{"to another place", outward(f.own, f.other, app.HTTP), http(), true, whole},
			{"over UDP outside", udp, http(), true, whole},
			{"nothing outside", nil, http(), true, whole},
			{"only inwards", inward(f.peer), http(), true, whole},
			{"refused", http(), decided(flow.Deny, flow.ByDefault, http()), false, whole},
			{"not decided", http(), decided(flow.Pending, flow.NoReason, http()), true, nothing},
			{"not identified", http(), outward(f.own, f.peer, app.Undecided), true, nothing},
			{"before policy came", nil, decided(flow.Open, flow.ByUnready, http()), true, whole},
			{"within, before policy came", nil, decided(flow.Open, flow.ByUnready, outward(f.own, loop, app.HTTP)), false, nothing},
			{"from the sidecar, before policy came", nil, decided(flow.Open, flow.ByUnready, inward(f.source)), false, nothing},
			{"from the sidecar", nil, decided(flow.Open, flow.NoReason, inward(f.source)), false, nothing},
			{"in a client's name", nil, inward(f.peer), false, name},
		} {
			var o sidecar.Outside
			if tt.outside != nil {
				o.Add("w", tt.outside)
			}
			r := &sidecar.Record{Record: tt.lo, Workload: "w"}
			if got := o.Waits(r); got != tt.waits {
				t.Errorf("%s, %s: waits %t, want %t", f.name, tt.name, got, tt.waits)
			}
			if got := o.Report(r); got != tt.want {
				t.Errorf("%s, %s: %d, want %d", f.name, tt.name, got, tt.want)
			}
		}
	}
}

// TestWaitingEnds has a session on lo without counterpart, one whose application never
// becomes known, and another workload's.
func TestWaitingEnds(t *testing.T) {
	var o sidecar.Outside
	r := &sidecar.Record{Record: outward("10.0.0.1", "10.0.0.2", app.HTTP), Workload: "w"}
	rounds := 0
	for ; o.Waits(r) && rounds < 100; rounds++ {
		r.Rounds++
	}
	if rounds != sidecar.MaxRounds {
		t.Errorf("it waited %d rounds, want %d", rounds, sidecar.MaxRounds)
	}
	silent := &sidecar.Record{Record: outward("10.0.0.1", "10.0.0.2", app.Undecided), Workload: "w", Rounds: sidecar.MaxRounds}
	if !o.Waits(silent) {
		t.Error("what may be refused yet is given up")
	}
	if silent.Ended = true; o.Waits(silent) {
		t.Error("what has ended waits")
	}
	o.Add("other", outward("10.0.0.1", "10.0.0.2", app.HTTP))
	if got := o.Report(r); got != sidecar.Whole {
		t.Errorf("another workload's session is its counterpart: %d", got)
	}
}

// TestOutsideIsBounded fills what is remembered.
func TestOutsideIsBounded(t *testing.T) {
	const limit = 20_000
	var o sidecar.Outside
	at := func(i int) *flow.Record {
		r := outward("10.0.0.1", "10.0.0.2", app.Undecided)
		r.Server = packet.AddrFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		return r
	}
	known := func(i int) bool {
		r := &sidecar.Record{Record: at(i), Workload: "w"}
		r.App = uint16(app.HTTP)
		return o.Report(r) == sidecar.NameOnly
	}
	for i := range limit + 100 {
		o.Add("w", at(i))
		if !known(i) {
			t.Fatalf("target %d is not known", i)
		}
	}
	n := 0
	for i := range limit + 100 {
		if known(i) {
			n++
		}
	}
	if n != limit {
		t.Errorf("%d targets are known, want %d", n, limit)
	}
}
