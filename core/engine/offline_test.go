package engine_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// replay runs frames, a millisecond apart, through an offline engine and returns what it found.
func replay(t *testing.T, enforce bool, rules []policy.RuleSpec, frames ...packet.Frame) (records []flow.Record, threats []report.Threat, o *engine.Offline, verdicts string) {
	t.Helper()
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	mode := policy.Discover
	if enforce {
		mode = policy.Protect
	}
	table, err := policy.Compile(&policy.Spec{
		Version: 1, Groups: []policy.GroupSpec{{Name: "any", Any: true}}, Identities: []policy.IdentitySpec{{Groups: []uint32{0}}},
		Workloads: []policy.WorkloadSpec{{ID: engine.OfflineWorkload, Mode: mode}}, Rules: rules,
	})
	if err != nil {
		t.Fatal(err)
	}
	o = engine.NewOffline(engine.Config{Parsers: reg}, table, enforce)
	for i := range frames {
		frames[i].Stamp = 1_700_000_000e9 + int64(i)*1e6
		o.Frame(&frames[i])
	}
	o.Finish()
	o.Drain(func(f *flow.Record) { records = append(records, *f) }, func(x *report.Threat) { threats = append(threats, *x) })
	return records, threats, o, actions(frames)
}

const get = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"

// exchange is a whole connection with one request and its answer.
func exchange(t *testing.T, c *conn) []packet.Frame {
	t.Helper()
	return append(c.handshake(t), c.seg(t, 0, "PA", get), c.seg(t, 1, "PA", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
		c.seg(t, 0, "FA", ""), c.seg(t, 1, "FA", ""), c.seg(t, 0, "A", ""))
}

// TestReplay: a capture of one connection gives one session with its ends, its application, its counts and its outcome.
func TestReplay(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		frames := exchange(t, newConn(v6, 40000, 8080))
		records, threats, o, _ := replay(t, false, nil, frames...)
		if len(threats) != 0 || o.Malformed() != 0 || len(records) == 0 {
			t.Fatalf("got %d records, threats %+v, %d malformed", len(records), threats, o.Malformed())
		}
		var packets uint64
		for _, f := range records {
			if f.Session != records[0].Session {
				t.Errorf("another session: %+v", f)
			}
			packets += f.Packets[0] + f.Packets[1]
		}
		last := records[len(records)-1]
		if last.ServerPort != 8080 || last.IPv6 != v6 || last.App != uint16(app.HTTP) || last.Phase != flow.PhaseClosed || packets != uint64(len(frames)) {
			t.Errorf("got %d packets and %+v", packets, last)
		}
	})
}

// TestReplayEnforced: with rules in force the frames of a capture get the verdicts that they would have got.
func TestReplayEnforced(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		rules := []policy.RuleSpec{{ID: 3, Ports: tcpPort(8080)}}
		if _, _, _, got := replay(t, true, rules, newConn(v6, 40000, 8080).seg(t, 0, "S", ""), newConn(v6, 40001, 22).seg(t, 0, "S", "")); got != "pass drop" {
			t.Errorf("got %s", got)
		}
	})
}

// TestReplayCutAtEveryFrame: a capture may begin and end anywhere: there is one session, never a refusal, and its server is known where the
// beginning is there.
func TestReplayCutAtEveryFrame(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		all := exchange(t, newConn(v6, 40000, 8080))
		for from := range all {
			for to := from + 1; to <= len(all); to++ {
				frames := append([]packet.Frame(nil), all[from:to]...)
				records, _, _, _ := replay(t, false, nil, frames...)
				var packets uint64
				for _, f := range records {
					packets += f.Packets[0] + f.Packets[1]
					if f.Session != records[0].Session || f.Verdict == flow.Deny {
						t.Fatalf("frames %d to %d: got %+v", from, to, f)
					}
					if from <= 1 && f.ServerPort != 8080 {
						t.Fatalf("frames %d to %d: got server port %d", from, to, f.ServerPort)
					}
				}
				// ACKs and FINs alone show no connection in use: they may go unrecorded.
				bare := from > 4 || from == 2 && to == 3
				if bare && len(records) == 0 {
					continue
				}
				if packets != uint64(to-from) {
					t.Fatalf("frames %d to %d: got %d packets in %d records", from, to, packets, len(records))
				}
			}
		}
	})
}

// TestReplayMalformed: damaged frames are counted and make no session.
func TestReplayMalformed(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		whole := newConn(v6, 40000, 8080).seg(t, 0, "S", "")
		var frames []packet.Frame
		for n := range 14 + 20 {
			f := whole
			f.Data, f.Wire = whole.Data[:n], uint32(n)
			frames = append(frames, f)
		}
		records, _, o, _ := replay(t, false, nil, frames...)
		if len(records) != 0 || o.Malformed() != uint64(len(frames)) {
			t.Errorf("got %d records, %d malformed, want 0 and %d", len(records), o.Malformed(), len(frames))
		}
	})
}
