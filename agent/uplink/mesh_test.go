package uplink_test

import (
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/report"
)

// TestSidecars has records of a workload with a sidecar: on lo, what the application said to it, and
// outside, what it made of it.
func TestSidecars(t *testing.T) {
	type edit = func(*report.Flow)
	lo := func(more ...edit) edit {
		return func(f *report.Flow) {
			f.Loopback = true
			for _, e := range more {
				e(f)
			}
		}
	}
	as := func(a app.ID) edit { return func(f *report.Flow) { f.App, f.Base = uint16(a), uint16(a) } }
	to := func(server string) edit { return func(f *report.Flow) { f.Server = addr(server) } }
	six := func(f *report.Flow) { f.IPv6, f.Client, f.Server = true, addr("fd00::1"), addr("fd00::2") }
	verdict := func(v report.Verdict, r report.Reason) edit {
		return func(f *report.Flow) { f.Verdict, f.Reason = v, r }
	}
	inbound := func(client string, v6 bool) edit {
		return func(f *report.Flow) { f.Dir, f.Client, f.IPv6 = packet.Ingress, addr(client), v6 }
	}
	for _, tt := range []struct {
		name  string
		flows []report.Flow
		conns int
		began uint64
	}{
		{"the same", []report.Flow{flow(1, report.Start, lo()), flow(2, report.Start, nil)}, 1, 1},
		{"the same, IPv6", []report.Flow{flow(1, report.Start, lo(six)), flow(2, report.Start, six)}, 1, 1},
		{"by another name outside", []report.Flow{flow(1, report.Start, lo()), flow(2, report.Start, as(app.HTTP2))}, 2, 1},
		{"to another place", []report.Flow{flow(1, report.Start, lo(to("10.96.0.1"))), flow(2, report.Start, nil)}, 2, 2},
		{"refused on lo", []report.Flow{flow(1, report.Start, lo(verdict(report.Deny, report.ByDefault)))}, 1, 1},
		{"before policy came", []report.Flow{flow(1, report.Start, lo(verdict(report.Open, report.ByUnready)))}, 1, 1},
		{"to itself", []report.Flow{flow(1, report.Start, lo(verdict(report.Open, report.NoReason)))}, 0, 0},
		{"from its sidecar", []report.Flow{flow(1, report.Start, lo(inbound("127.0.0.6", false), verdict(report.Open, report.ByUnready)))}, 0, 0},
		{"from its sidecar, IPv6", []report.Flow{flow(1, report.Start, lo(inbound("::6", true), verdict(report.Open, report.ByUnready)))}, 0, 0},
		{"destination not known", []report.Flow{flow(1, report.Start, lo(to("127.0.0.1"), verdict(report.Open, report.ByUnready)))}, 0, 0},
		{"no name yet", []report.Flow{flow(1, report.Start, lo(as(app.Undecided)))}, 0, 0},
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
	lo := func(a app.ID, v report.Verdict) func(*report.Flow) {
		return func(f *report.Flow) { f.Loopback, f.App, f.Verdict = true, uint16(a), v }
	}
	r.put(flow(1, report.Start, lo(app.Undecided, report.Pending)))
	for r.left() > 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond) // ten times the interval
	r.put(flow(1, report.Update, lo(app.Redis, report.Deny)))
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
