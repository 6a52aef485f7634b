package uplink_test

import (
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// TestSidecars has records of a workload with a sidecar: on lo, what the application said to it, and
// outside, what it made of it.
func TestSidecars(t *testing.T) {
	type edit = func(*flow.Record)
	lo := func(more ...edit) edit {
		return func(f *flow.Record) {
			f.Loopback = true
			for _, e := range more {
				e(f)
			}
		}
	}
	as := func(a app.ID) edit { return func(f *flow.Record) { f.App, f.Base = uint16(a), uint16(a) } }
	to := func(server string) edit { return func(f *flow.Record) { f.Server = addr(server) } }
	six := func(f *flow.Record) { f.IPv6, f.Client, f.Server = true, addr("fd00::1"), addr("fd00::2") }
	verdict := func(v flow.Verdict, r flow.Reason) edit {
		return func(f *flow.Record) { f.Verdict, f.Reason = v, r }
	}
	inbound := func(client string, v6 bool) edit {
		return func(f *flow.Record) { f.Dir, f.Client, f.IPv6 = packet.Ingress, addr(client), v6 }
	}
	for _, tt := range []struct {
		name  string
		flows []flow.Record
		conns int
		began uint64
	}{
		{"the same", []flow.Record{record(1, flow.Start, lo()), record(2, flow.Start, nil)}, 1, 1},
		{"the same, IPv6", []flow.Record{record(1, flow.Start, lo(six)), record(2, flow.Start, six)}, 1, 1},
		{"by another name outside", []flow.Record{record(1, flow.Start, lo()), record(2, flow.Start, as(app.HTTP2))}, 2, 1},
		{"to another place", []flow.Record{record(1, flow.Start, lo(to("10.96.0.1"))), record(2, flow.Start, nil)}, 2, 2},
		{"refused on lo", []flow.Record{record(1, flow.Start, lo(verdict(flow.Deny, flow.ByDefault)))}, 1, 1},
		{"before policy came", []flow.Record{record(1, flow.Start, lo(verdict(flow.Open, flow.ByUnready)))}, 1, 1},
		{"to itself", []flow.Record{record(1, flow.Start, lo(verdict(flow.Open, flow.NoReason)))}, 0, 0},
		{"from its sidecar", []flow.Record{record(1, flow.Start, lo(inbound("127.0.0.6", false), verdict(flow.Open, flow.ByUnready)))}, 0, 0},
		{"from its sidecar, IPv6", []flow.Record{record(1, flow.Start, lo(inbound("::6", true), verdict(flow.Open, flow.ByUnready)))}, 0, 0},
		{"destination not known", []flow.Record{record(1, flow.Start, lo(to("127.0.0.1"), verdict(flow.Open, flow.ByUnready)))}, 0, 0},
		{"no name yet", []flow.Record{record(1, flow.Start, lo(as(app.Undecided)))}, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, r := &collector{}, &records{}
			r.put(tt.flows...)
			_, stop := start(t, r, c.serve(t), 0)
			stop()
			if began, _, _ := c.sums(); len(c.conns) != tt.conns || began != tt.began {
				t.Errorf("%d connections of %d sessions, want %d of %d", len(c.conns), began, tt.conns, tt.began)
			}
		})
	}
}

// TestRefusedLate has a session on lo refused long after it began.
func TestRefusedLate(t *testing.T) {
	c, r := &collector{}, &records{}
	_, stop := start(t, r, c.serve(t), 0)
	lo := func(a app.ID, v flow.Verdict) func(*flow.Record) {
		return func(f *flow.Record) { f.Loopback, f.App, f.Verdict = true, uint16(a), v }
	}
	r.put(record(1, flow.Start, lo(app.Undecided, flow.Pending)))
	for r.left() > 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond) // ten times the interval
	r.put(record(1, flow.Update, lo(app.Redis, flow.Deny)))
	stop()
	if began, _, _ := c.sums(); len(c.conns) != 1 || began != 1 {
		t.Errorf("%d connections of %d sessions, want one of one", len(c.conns), began)
	}
}

// left is how many records were not taken yet.
func (r *records) left() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.flows)
}
