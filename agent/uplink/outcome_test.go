package uplink_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicenet/sluice/agent/uplink"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/internal/vocab"
)

// became edits a record to an outcome.
func became(o flow.Outcome) func(*flow.Record) {
	return func(f *flow.Record) {
		f.Outcome = o
		if o == flow.OutcomeOpening || o == flow.OutcomeRefused || o == flow.OutcomeUnanswered {
			f.App, f.Base = uint16(app.Undecided), uint16(app.Undecided)
		}
	}
}

// refusedOpen edits a record to that of an open session which policy refuses.
func refusedOpen(f *flow.Record) {
	f.Outcome, f.Verdict, f.Answered, f.Last = flow.OutcomeDenied, flow.Deny, true, f.First+int64(300*time.Millisecond)
}

// rowsOf is what arrived: "outcome began/ended session" of each connection, sorted.
func (c *collector) rowsOf() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, x := range c.conns {
		out = append(out, fmt.Sprintf("%s %d/%d s%d", vocab.Text(x.Outcome), x.Sessions, x.Ended, x.Session))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// TestOutcomes has sessions change their outcome while the collector is away for all of it, so that
// each is one row at last, and while it takes each tick's reports, so that what was reported as
// opening comes again with its number and is not counted again.
func TestOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name           string
		steps          [][]flow.Record
		waiting, early string
	}{
		{"answered late", [][]flow.Record{{record(1, flow.Start, became(flow.OutcomeOpening))}, {record(1, flow.Update, nil)}},
			"established 1/0 s1", "established 0/0 s1, opening 1/0 s1"},
		{"answered late and closed", [][]flow.Record{{record(1, flow.Start, became(flow.OutcomeOpening))}, {record(1, flow.Update, nil)}, {record(1, flow.End, became(flow.OutcomeClosed))}},
			"closed 0/1 s1, established 1/0 s1", "closed 0/1 s1, established 0/0 s1, opening 1/0 s1"},
		{"two answered late", [][]flow.Record{{record(1, flow.Start, became(flow.OutcomeOpening)), record(2, flow.Start, became(flow.OutcomeOpening))}, {record(1, flow.Update, nil), record(2, flow.Update, nil)}},
			"established 2/0 s0", "established 0/0 s1, established 0/0 s2, opening 1/0 s1, opening 1/0 s2"},
		{"refused late", [][]flow.Record{{record(1, flow.Start, became(flow.OutcomeOpening))}, {record(1, flow.End, became(flow.OutcomeRefused))}},
			"refused 1/1 s1", "opening 1/0 s1, refused 0/1 s1"},
		{"refused at once, twice", [][]flow.Record{{record(1, flow.Start, became(flow.OutcomeOpening)), record(1, flow.End, became(flow.OutcomeRefused)),
			record(2, flow.Start, became(flow.OutcomeOpening)), record(2, flow.End, became(flow.OutcomeRefused))}},
			"refused 2/2 s0", "refused 2/2 s0"},
		{"denied and closed are two kinds", [][]flow.Record{{record(1, flow.Start, nil), record(1, flow.End, became(flow.OutcomeClosed)),
			record(2, flow.Start, nil), record(2, flow.End, func(f *flow.Record) { f.Outcome, f.Verdict = flow.OutcomeDenied, flow.Deny })}},
			"closed 1/1 s1, denied 1/1 s2", "closed 1/1 s1, denied 1/1 s2"},
		{"two refused a moment after they were answered", [][]flow.Record{{record(1, flow.Start, nil), record(2, flow.Start, nil)}, {record(1, flow.Update, refusedOpen), record(2, flow.Update, refusedOpen)}},
			"denied 0/0 s1, denied 0/0 s2, established 2/0 s0", "denied 0/0 s1, denied 0/0 s2, established 2/0 s0"},
		{"still opening", [][]flow.Record{{record(1, flow.Start, became(flow.OutcomeOpening))}, {record(1, flow.Update, became(flow.OutcomeOpening))}},
			"opening 1/0 s1", "opening 0/0 s1, opening 1/0 s1"},
	} {
		for _, away := range []bool{true, false} {
			want := tt.early
			name := tt.name
			if away {
				want, name = tt.waiting, name+", collector away"
			}
			t.Run(name, func(t *testing.T) {
				var mu sync.Mutex
				gone := away
				c, r := &collector{}, &records{}
				c.fail = func(int) (bool, bool) { mu.Lock(); defer mu.Unlock(); return gone, false }
				client := c.serve(t)
				if away { // the sender is kept busy by a threat, so that everything else waits
					r.threats = []report.Threat{{ID: 1, Endpoint: 1}}
				}
				u, stop := start(t, r, client, 0)
				for away && u.Stats().Retries == 0 {
					time.Sleep(time.Millisecond)
				}
				for _, step := range tt.steps {
					r.put(step...)
					for r.left() > 0 {
						time.Sleep(time.Millisecond)
					}
					time.Sleep(60 * time.Millisecond) // six times the interval: everything is folded and, if it can be, sent
				}
				mu.Lock()
				gone = false
				mu.Unlock()
				stop()
				if got := c.rowsOf(); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				began, ended, _ := c.sums()
				starts, ends := 0, 0
				for _, f := range slices.Concat(tt.steps...) {
					switch f.Kind {
					case flow.Start:
						starts++
					case flow.End:
						ends++
					}
				}
				if o := u.Outcomes()["netns:web"]; o[flow.OutcomeClosed]+o[flow.OutcomeRefused]+o[flow.OutcomeDenied] != uint64(ends) {
					t.Errorf("outcomes %v, want %d ended", o, ends)
				}
				if began != uint64(starts) || ended != uint64(ends) {
					t.Errorf("%d began and %d ended, want %d and %d", began, ended, starts, ends)
				}
			})
		}
	}
}

// TestOpeningFlood has more sessions open at once than are kept apart: they are counted together,
// and each once.
func TestOpeningFlood(t *testing.T) {
	c, r := &collector{}, &records{}
	u, stop := start(t, r, c.serve(t), 0)
	const n = 25_000
	records := uint64(0)
	for _, k := range []struct {
		kind flow.Kind
		to   flow.Outcome
	}{{flow.Start, flow.OutcomeOpening}, {flow.End, flow.OutcomeUnanswered}} {
		for i := uint64(1); i <= n; i++ {
			r.put(record(i, k.kind, became(k.to)))
		}
		records += n
		for s := u.Stats(); s.Records < records || s.Backlog > 0; s = u.Stats() { // all of them open at once
			time.Sleep(time.Millisecond)
		}
	}
	stop()
	began, ended, _ := c.sums()
	if began != n || ended != n {
		t.Errorf("%d began and %d ended, want %d of both", began, ended, n)
	}
	if len(c.conns) > 20_100 {
		t.Errorf("%d rows for %d sessions of one kind: those beyond the bound are not counted together", len(c.conns), n)
	}
	for _, x := range c.conns {
		if x.Outcome == controlv1.Outcome_OUTCOME_UNANSWERED && x.Ended == 0 {
			t.Fatalf("a row without an end: %v", x)
		}
	}
}

// TestLossy marks connections whose records were observed with losses, and those that are sent with
// the news that others were lost.
func TestLossy(t *testing.T) {
	c, r := &collector{}, &records{}
	_, stop := start(t, r, c.serve(t), 0)
	other := func(port uint16, more func(*flow.Record)) func(*flow.Record) {
		return func(f *flow.Record) {
			f.ServerPort = port
			if more != nil {
				more(f)
			}
		}
	}
	send := func(fs ...flow.Record) {
		r.put(fs...)
		for n := 0; r.left() > 0 && n < 1000; n++ {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(60 * time.Millisecond)
	}
	send(record(1, flow.Start, other(81, func(f *flow.Record) { f.Lossy = true })), record(2, flow.Start, other(82, nil)), record(3, flow.Start, other(82, nil)))
	send(record(4, flow.Start, other(83, nil)), record(5, flow.Start, other(84, func(f *flow.Record) { f.Endpoint = 9 }))) // of no workload: lost
	send(record(6, flow.Start, other(85, nil)))
	stop()
	want := map[uint32]bool{81: true, 82: false, 83: true, 85: false}
	for _, x := range c.conns {
		if x.Lossy != want[x.ServerPort] {
			t.Errorf("port %d: lossy %t, want %t", x.ServerPort, x.Lossy, want[x.ServerPort])
		}
		delete(want, x.ServerPort)
	}
	if len(want) > 0 {
		t.Errorf("not reported: %v", want)
	}
}

// TestThreats checks that a threat arrives with the packet that showed it first, its session where
// there is one alone, and bytes that are no text made fit.
func TestThreats(t *testing.T) {
	c, r := &collector{}, &records{}
	frame := append([]byte{0x45}, bytes.Repeat([]byte{7}, 400)...)
	threat := func(id uint16, session uint64, first byte) report.Threat {
		f := bytes.Clone(frame)
		f[1] = first
		return report.Threat{ID: id, Endpoint: 1, Session: session, Stamp: int64(session), Text: "x\xff", Src: addr("10.0.0.1"), Dst: addr("10.0.0.2"), Proto: 6, Frame: f}
	}
	r.threats = []report.Threat{threat(2007, 5, 1), threat(2007, 6, 2), threat(1001, 7, 3), {ID: 1002, Endpoint: 1, IPv6: true, Src: addr("fd00::1"), Dst: addr("fd00::2")}, {ID: 3, Endpoint: 9}}
	_, stop := start(t, r, c.serve(t), 0)
	stop()
	byID := map[uint32]*controlv1.ThreatRecord{}
	for _, x := range c.threats {
		byID[x.Id] = x
	}
	if len(c.threats) != 3 || c.drops["unknown_endpoint"] != 1 {
		t.Fatalf("%d threats and %v dropped, want 3 and one of an unknown endpoint", len(c.threats), c.drops)
	}
	if x := byID[2007]; x.Count != 2 || x.Session != 0 || x.Stamp != 6 || x.Text != "x\ufffd" || len(x.Frame) != 256 || x.Frame[1] != 1 {
		t.Errorf("two of a kind: %v, want the first packet, cut at 256 bytes, and no session", x)
	}
	if x := byID[1001]; x.Count != 1 || x.Session != 7 || x.Frame[1] != 3 {
		t.Errorf("one alone: %v, want its session and packet", x)
	}
	if x := byID[1002]; len(x.Src) != 16 || len(x.Frame) != 0 {
		t.Errorf("over IPv6, without a packet: %v", x)
	}
}

// TestUnjudged has counts from several goroutines merged by key, kept while the collector is away,
// and bounded.
func TestUnjudged(t *testing.T) {
	c, r := &collector{fail: func(n int) (bool, bool) { return n < 3, n == 3 }}, &records{}
	u, stop := start(t, r, c.serve(t), 0)
	const each = 1000
	var group sync.WaitGroup
	for _, dropped := range []bool{false, true} {
		group.Go(func() {
			for i := range int64(each) {
				u.Unjudged(uplink.Unjudged{Workload: "netns:web", Interface: "eth0", Backend: "inline", Cause: "heartbeat", Dropped: dropped, Frames: 2, Bytes: 100, First: 1000 - i, Last: 1000 + i})
			}
		})
	}
	group.Wait()
	u.Unjudged(uplink.Unjudged{Backend: "inline", Cause: "ring_full", Frames: 1, Last: 5})
	u.Unjudged(uplink.Unjudged{Workload: "netns:web", Cause: "nothing"})
	time.Sleep(50 * time.Millisecond)
	stop()
	sum := map[string]*controlv1.Unjudged{}
	for _, x := range c.rows {
		k := fmt.Sprintf("%s/%s/%s/%s/%t", x.Workload, x.Interface, x.Backend, x.Cause, x.Dropped)
		if sum[k] == nil {
			sum[k] = &controlv1.Unjudged{First: x.First}
		}
		sum[k].Frames += x.Frames
		sum[k].Bytes += x.Bytes
		sum[k].First, sum[k].Last = min(sum[k].First, x.First), max(sum[k].Last, x.Last)
	}
	for k, want := range map[string][4]int64{"netns:web/eth0/inline/heartbeat/false": {2 * each, 100 * each, 1, 1999}, "netns:web/eth0/inline/heartbeat/true": {2 * each, 100 * each, 1, 1999},
		"//inline/ring_full/false": {1, 0, 5, 5}} {
		if x := sum[k]; x == nil || int64(x.Frames) != want[0] || int64(x.Bytes) != want[1] || x.First != want[2] || x.Last != want[3] {
			t.Errorf("%s: %v, want %v", k, x, want)
		}
	}
	if len(sum) != 3 || c.twice == 0 {
		t.Errorf("%d rows, %d requests twice: want 3 rows, and one request sent again", len(sum), c.twice)
	}
	if total := u.UnjudgedTotals(); len(total) != 3 || total[1].Frames != 2*each || total[0].Cause != "ring_full" {
		t.Errorf("totals %+v", total)
	}
}

func TestUnjudgedBounded(t *testing.T) {
	c, r := &collector{}, &records{}
	u, stop := start(t, r, c.serve(t), 0)
	const n = 30_000
	for i := range n {
		u.Unjudged(uplink.Unjudged{Workload: fmt.Sprint("w", i), Backend: "nfqueue", Cause: "queue_full", Frames: 1})
	}
	stop()
	frames := uint64(0)
	for _, x := range c.rows {
		frames += x.Frames
	}
	if total := u.UnjudgedTotals(); frames != n || len(total) != 10_001 {
		t.Errorf("%d frames arrived and %d rows are counted, want %d and 10001", frames, len(total), n)
	}
}
