package identify_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/builtin"
)

const request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"

// remote is a detect.Remote whose answers the test sets.
type remote struct {
	refuses  bool
	calls    []string
	data     string
	answers  []func(detect.Answers)
	settled  bool // for Answered
	unmoving bool
}

func (r *remote) note(format string, a ...any) { r.calls = append(r.calls, fmt.Sprintf(format, a...)) }

func (r *remote) Open(_ *parsers.Meta, owner uint32) (uint64, bool) {
	if r.refuses {
		return 0, true
	}
	r.note("open %d", owner)
	return uint64(owner) + 100, false
}
func (r *remote) Data(n uint64, dir parsers.Dir, b []byte) {
	r.data += string(b)
	r.note("data %d", dir)
}
func (r *remote) Gap(n uint64, dir parsers.Dir, size int) { r.note("gap %d %d", dir, size) }
func (r *remote) End(uint64)                              { r.note("end") }
func (r *remote) Close(uint64)                            { r.note("close") }
func (r *remote) Flush()                                  {}
func (r *remote) Wait(time.Duration)                      { r.note("wait") }
func (r *remote) Stop()                                   { r.note("stop") }
func (r *remote) Answered(uint64) bool                    { return r.settled }
func (r *remote) Export(n uint64) any                     { return n }
func (r *remote) Adopt(p any, owner uint32) uint64 {
	if r.unmoving {
		return 0
	}
	r.note("adopt %v", p)
	return uint64(owner) + 200
}
func (r *remote) Poll(to detect.Answers) {
	for _, a := range r.answers {
		a(to)
	}
	r.answers = nil
}

var _ detect.Prompt = (*remote)(nil)

// says sets the remote's answer at the next Poll.
func (r *remote) says(f *identify.Flow, n detect.News) {
	number := f.Number()
	r.answers = append(r.answers, func(to detect.Answers) { to.News(number, n) })
}

// pool returns a Pool with the project's parsers; with a remote, without them.
func pool(t *testing.T, r *remote, wait bool) *identify.Pool {
	t.Helper()
	if r != nil {
		return identify.New(identify.Config{Parsers: &parsers.Registry{}, Remote: r, Wait: wait})
	}
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	return identify.New(identify.Config{Parsers: reg, Wait: wait})
}

func meta(proto uint8) parsers.Meta {
	return parsers.Meta{Client: netip.MustParseAddr("fd00::1"), Server: netip.MustParseAddr("fd00::2"), ClientPort: 40000, ServerPort: 8080, Proto: proto}
}

func feed(p *identify.Pool, f *identify.Flow, dir parsers.Dir, seq uint32, text string) identify.Outcome {
	return p.Feed(f, dir, identify.Bytes{Data: []byte(text), Wire: len(text), Seq: seq, First: 1, Packet: []byte("packet of " + text)})
}

// TestAnyCut identifies a stream however it is cut, in order or not.
func TestAnyCut(t *testing.T) {
	for cut := 1; cut < len(request); cut++ {
		for _, order := range [][2]int{{0, 1}, {1, 0}} {
			p := pool(t, nil, false)
			f := p.Begin(meta(6), 7)
			parts, seqs := []string{request[:cut], request[cut:]}, []uint32{1, uint32(1 + cut)}
			for _, i := range order {
				feed(p, f, 0, seqs[i], parts[i])
			}
			if f.Outcome() != detect.Decided || f.App != app.HTTP {
				t.Fatalf("cut at %d, order %v: %v, %v", cut, order, f.Outcome(), f.App)
			}
		}
	}
}

// TestWhatMayStillCome checks which applications a stream can still be.
func TestWhatMayStillCome(t *testing.T) {
	p := pool(t, nil, false)
	f := p.Begin(meta(6), 7)
	if !f.Could(app.HTTP) || !f.Could(app.SSH) || !f.Open() || f.Over() || f.Elsewhere() || f.Lost() {
		t.Error("before the first byte it may be anything")
	}
	feed(p, f, 0, 1, "SSH-2.0-")
	if f.Could(app.HTTP) || !f.Could(app.SSH) {
		t.Errorf("an SSH banner: could be http %v, ssh %v", f.Could(app.HTTP), f.Could(app.SSH))
	}
	feed(p, f, 0, 9, "x\r\n")
	p.End(f)
	if f.Outcome() != detect.Decided || f.App != app.SSH || f.Open() || !f.Over() || p.Unanswered(f) || p.Finish(f, 5) != 0 {
		t.Errorf("after its end: %v, %v", f.Outcome(), f.App)
	}
}

// TestLimits ends identification by packets and by time.
func TestLimits(t *testing.T) {
	p := pool(t, nil, false)
	f := p.Begin(meta(6), 7)
	if out := p.Feed(f, 0, identify.Bytes{Data: []byte("G"), Wire: 1, Seq: 1, First: 1, Age: detect.MaxTime + 1}); out.Identified != detect.Decided || f.App != app.Unknown {
		t.Errorf("after 10 s: %v, %v", out.Identified, f.App)
	}
	g := p.Begin(meta(17), 8)
	for i := range 40 {
		if out := p.Feed(g, parsers.Dir(i&1), identify.Bytes{Data: []byte{0xff, 0xff, 0xff}, Wire: 3}); out.Identified == detect.Decided {
			return
		}
	}
	t.Error("datagrams without end are never given up")
}

// TestOverlap reports bytes that arrive again with other values.
func TestOverlap(t *testing.T) {
	p := pool(t, nil, false)
	f := p.Begin(meta(6), 7)
	feed(p, f, 0, 1, "GE")
	if out := feed(p, f, 0, 1, "PO"); !out.Overlap {
		t.Error("other bytes at the same place are no overlap")
	}
}

// TestAcked skips bytes that were acknowledged and did not arrive within some more segments.
func TestAcked(t *testing.T) {
	p := pool(t, nil, false)
	f := p.Begin(meta(6), 7)
	p.Acked(f, 0, 10) // nothing is there yet
	feed(p, f, 0, 1, "GET / HT")
	p.Acked(f, 0, 50)
	for i := range uint32(4) {
		if i < 2 && f.Outcome() == detect.Decided {
			t.Errorf("decided after %d segments: what is missing may be late", i)
		}
		feed(p, f, 0, 50+8*i, "more\r\n\r\n")
	}
	if f.Outcome() != detect.Decided {
		t.Errorf("after a gap: %v", f.Outcome())
	}
}

// TestThreatsAreKept until they are taken, with their packet, and bounded.
func TestThreatsAreKept(t *testing.T) {
	r := &remote{}
	p := pool(t, r, false)
	f := p.Begin(meta(6), 7)
	feed(p, f, 0, 1, "abc")
	if got := p.TakeThreats(); got != nil {
		t.Errorf("%d threats of nothing", len(got))
	}
	for range 1000 {
		r.answers = append(r.answers, func(to detect.Answers) { to.Threat(f.Number(), 2019, "seen") })
	}
	r.answers = append(r.answers, func(to detect.Answers) { to.Threat(99, 1, "of no session") })
	p.Poll()
	got := p.TakeThreats()
	if len(got) != 256 || got[0].Owner != 7 || got[0].ID != 2019 || got[0].Text != "seen" || string(got[0].Packet) != "packet of abc" {
		t.Errorf("%d threats, the first %+v", len(got), got[0])
	}
}

// TestDelayed reads bytes that were to wait for others when identification ends without them.
func TestDelayed(t *testing.T) {
	for _, end := range []func(*identify.Pool, *identify.Flow){
		func(p *identify.Pool, f *identify.Flow) { p.End(f) },
		func(p *identify.Pool, f *identify.Flow) { p.Close(f, false) },
	} {
		p := pool(t, nil, false)
		f := p.Begin(meta(6), 7)
		b := identify.Bytes{Data: []byte(request), Wire: len(request), Seq: 1, First: 1, Later: true}
		if p.Feed(f, parsers.ToServer, b); !f.Later() || f.Outcome() != detect.Undecided {
			t.Errorf("before: later %v, %v", f.Later(), f.Outcome())
		}
		if end(p, f); f.Later() || f.App != app.HTTP {
			t.Errorf("at the end: later %v, %v; want %v", f.Later(), f.App, app.HTTP)
		}
	}
}

// TestLimitOfTime: the copy of a packet beyond the limit is read like one before it, however it is cut; later ones are not.
func TestLimitOfTime(t *testing.T) {
	for _, cut := range []int{1, 7, len(request)} {
		p := pool(t, nil, false)
		f := p.Begin(meta(6), 7)
		for at, age := 0, int64(detect.MaxTime)+1; at < len(request); at += cut {
			text := request[at:min(at+cut, len(request))]
			p.Feed(f, 0, identify.Bytes{Data: []byte(text), Wire: len(text), Seq: uint32(1 + at), First: 1, Age: age, Copy: true})
			age++
		}
		if f.App != app.HTTP {
			t.Errorf("pieces of %d: %v, want http", cut, f.App)
		}
		p = pool(t, nil, false)
		f = p.Begin(meta(6), 7)
		for i, age := range []int64{0, detect.MaxTime + 1, 2 * detect.MaxTime} {
			if f.Expired(age) != (i > 0) {
				t.Errorf("packet %d: expired %v", i, f.Expired(age))
			}
			p.Feed(f, 0, identify.Bytes{Data: []byte("G"), Wire: 1, Seq: uint32(1 + i), First: 1, Age: age, Copy: true})
		}
		if f.Wants() {
			t.Error("open beyond the limit")
		}
	}
}
