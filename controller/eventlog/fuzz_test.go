package eventlog_test

import (
	"testing"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/eventlog"
)

// FuzzReports feeds reports that no honest agent would send: whatever they are, nothing panics,
// no event stands for more connections than were reported, and none comes out of nothing.
func FuzzReports(f *testing.F) {
	f.Add([]byte{0x00, 1, 1, 0x01, 1, 1})
	f.Add([]byte{0x05, 3, 3, 0x04, 3, 1, 0xff, 0, 0, 0x04, 0, 2})
	f.Add([]byte{0x11, 1, 0, 0x10, 0, 1, 0x21, 5, 0, 0x21, 0, 5})
	f.Fuzz(func(t *testing.T, ops []byte) {
		l := newLab(eventlog.Config{Events: 50})
		var reported uint64
		for ; len(ops) >= 3; ops = ops[3:] {
			if ops[0] == 0xff {
				l.pass(time.Duration(ops[1]) * 100 * time.Millisecond)
				continue
			}
			op, began, ended := ops[0], uint64(ops[1]), uint64(ops[2])
			reported += began + ended
			l.Connection(report(func(r *eventlog.Report) {
				r.Egress, r.Leads = op&1 == 0, op&2 == 0
				r.Sessions, r.Ended = began, ended
				if r.ClientPort = uint16(op >> 2 & 3); op&64 != 0 {
					r.Began = int64(op) * 1e9
				}
				r.Entry.Event.Stamp = int64(op)
				if op&16 != 0 {
					r.Entry.Event.Verdict = controlv1.Verdict_VERDICT_DENY
				}
				if op&32 != 0 {
					r.Proto = 1
				}
			}))
		}
		l.Drain()
		p, err := l.List(eventlog.Query{Limit: 1000})
		if err != nil || len(p.Events) > 50 {
			t.Fatalf("%d events, %v", len(p.Events), err)
		}
		for _, e := range p.Events {
			if e.Sessions == 0 || e.Sessions > max(reported, 1) {
				t.Fatalf("an event of %d connections, %d were reported: %v", e.Sessions, reported, e)
			}
		}
	})
}
