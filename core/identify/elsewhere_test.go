package identify_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// TestElsewhere identifies a session remotely: bytes are sent once, and the answer is the
// outcome.
func TestElsewhere(t *testing.T) {
	r := &remote{}
	p := pool(t, r, false)
	f := p.Begin(meta(6), 7)
	feed(p, f, 0, 1, "ab")
	feed(p, f, 0, 1, "ab") // again
	feed(p, f, 0, 3, "cd")
	if r.data != "abcd" || f.Asked() != 2 || f.Outcome() != detect.Undecided || !f.Wants() || !f.Elsewhere() {
		t.Fatalf("%q sent in %d calls: %v", r.data, f.Asked(), f.Outcome())
	}
	if !p.Unanswered(f) {
		t.Error("answered before any work")
	}
	r.settled = true
	if p.Unanswered(f) {
		t.Error("not answered after all work")
	}
	left := detect.Left{Known: true}
	left.Add(app.MySQL)
	r.says(f, detect.News{Outcome: detect.Preamble, Seen: 1, Left: left})
	r.says(f, detect.News{Outcome: detect.Preamble, Seen: 2, Left: left})
	p.Poll()
	if got := p.Answered(); len(got) != 1 || got[0] != f.Number() {
		t.Errorf("answered: %v, want it once", got)
	}
	if n := f.Seen(); n != 2 || f.Seen() != 0 {
		t.Errorf("seen %d, want 2, once", n)
	}
	if !f.Could(app.MySQL) || f.Could(app.HTTP) || !f.Open() {
		t.Error("it may be what they have left, and nothing else")
	}
	r.says(f, detect.News{Outcome: detect.Decided, App: app.MySQL, Base: app.MySQL, Strength: parsers.Likely})
	r.answers = append(r.answers, func(to detect.Answers) { to.Found(f.Number(), parsers.Attr(1), []byte("value")) })
	p.Poll()
	if f.Outcome() != detect.Decided || f.App != app.MySQL || f.Over() || f.Attrs.Len() != 1 || p.Unanswered(f) {
		t.Errorf("after the answer: %v, %v, over %v", f.Outcome(), f.App, f.Over())
	}
	feed(p, f, 1, 1, "answer") // it is still read
	r.says(f, detect.News{Outcome: detect.Decided, App: app.MySQL, Base: app.MySQL, Strength: parsers.Certain, Ended: true})
	p.Poll()
	if !f.Over() || f.Strength != parsers.Certain {
		t.Errorf("at the end: over %v, strength %v", f.Over(), f.Strength)
	}
	n := f.Number()
	p.Drop(f)
	r.answers = append(r.answers, func(to detect.Answers) { to.News(n, detect.News{}); to.Found(n, 1, nil); to.News(77, detect.News{}) })
	p.Poll() // nobody's any more
	for _, x := range p.Answered() {
		if p.Flow(x).Owner != 0 {
			t.Error("a dropped flow was answered")
		}
	}
	if g := p.Begin(meta(6), 9); g != f || g.Outcome() != detect.Undecided || g.Asked() != 0 || g.Attrs.Len() != 0 {
		t.Error("the flow is not used again as a new one")
	}
}

// TestFoundHere queries both, and the local parsers find it first: the remote is not queried
// further.
func TestFoundHere(t *testing.T) {
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	for _, proto := range []uint8{6, 17} {
		r := &remote{}
		p := identify.New(identify.Config{Parsers: reg, Remote: r})
		f := p.Begin(meta(proto), 7)
		text := request
		if proto == 17 {
			text = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01"
		}
		feed(p, f, 0, 1, text)
		if f.Elsewhere() || f.Outcome() != detect.Decided || r.data != "" {
			t.Errorf("protocol %d: elsewhere %v, %v, %q sent", proto, f.Elsewhere(), f.Outcome(), r.data)
		}
	}
}

// TestBothWait has a likely remote answer wait for a local parser, until the other side
// sends.
func TestBothWait(t *testing.T) {
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	r := &remote{}
	p := identify.New(identify.Config{Parsers: reg, Remote: r})
	f := p.Begin(meta(6), 7)
	feed(p, f, 0, 1, "G")
	r.says(f, detect.News{Outcome: detect.Decided, App: app.Redis, Base: app.Redis, Strength: parsers.Likely, Ended: true})
	p.Poll()
	if f.Outcome() != detect.Undecided {
		t.Errorf("a parser here may still claim it: %v", f.Outcome())
	}
	feed(p, f, 1, 1, "\x00\x01")
	if f.Outcome() != detect.Decided || f.App != app.Redis {
		t.Errorf("after both have spoken: %v, %v", f.Outcome(), f.App)
	}
}

// TestGapsElsewhere reports lost bytes to the remote.
func TestGapsElsewhere(t *testing.T) {
	r := &remote{}
	p := pool(t, r, false)
	f := p.Begin(meta(6), 7)
	feed(p, f, 0, 1, "ab")
	feed(p, f, 0, 11, "yz")
	p.Acked(f, 0, 11)
	for i := range uint32(3) {
		feed(p, f, 0, 13+i, "-")
	}
	if fmt.Sprint(r.calls) != "[open 1 data 0 gap 0 8 data 0]" || r.data != "abyz---" {
		t.Errorf("%v, %q", r.calls, r.data)
	}
	d := p.Begin(meta(17), 8)
	feed(p, d, 0, 0, "datagram")
	feed(p, d, 0, 0, "")
	if r.data != "abyz---datagram" || d.Asked() != 1 {
		t.Errorf("%q, %d", r.data, d.Asked())
	}
}

// TestEndElsewhere ends a session that waits for an answer: it arrives, or is given up.
func TestEndElsewhere(t *testing.T) {
	const now = int64(50e9)
	for _, comes := range []bool{true, false} {
		r := &remote{}
		p := pool(t, r, false)
		f := p.Begin(meta(6), 7)
		feed(p, f, 0, 1, "ab")
		until := p.Finish(f, now)
		if until != now+1e9 || f.Wants() || f.Open() || f.Over() {
			t.Fatalf("waits until %d, wants %v, over %v", until, f.Wants(), f.Over())
		}
		feed(p, f, 0, 3, "too late")
		if r.data != "ab" {
			t.Errorf("%q sent after the end", r.data)
		}
		if comes {
			r.says(f, detect.News{Outcome: detect.Decided, App: app.FTP, Base: app.FTP, Ended: true})
			p.Poll()
			if !f.Over() || f.App != app.FTP || p.Close(f, true) {
				t.Errorf("answered: over %v, %v", f.Over(), f.App)
			}
			continue
		}
		if got := p.Finish(f, now+1e9); got != 0 {
			t.Errorf("waits until %d after its time", got)
		}
		if !p.Close(f, false) || f.Elsewhere() || !f.Lost() || f.Outcome() != detect.Decided {
			t.Errorf("given up: elsewhere %v, lost %v, %v", f.Elsewhere(), f.Lost(), f.Outcome())
		}
	}
}

// TestNoRemoteTakesIt decides locally, and reports that a parser is unavailable.
func TestNoRemoteTakesIt(t *testing.T) {
	p := pool(t, &remote{refuses: true}, false)
	f := p.Begin(meta(6), 7)
	if !f.Lost() || f.Elsewhere() {
		t.Errorf("lost %v, elsewhere %v", f.Lost(), f.Elsewhere())
	}
	if feed(p, f, 0, 1, "ab"); f.Outcome() != detect.Decided || f.App != app.Unknown {
		t.Errorf("%v, %v", f.Outcome(), f.App)
	}
}

// TestCapturesWait checks that captures wait for each answer.
func TestCapturesWait(t *testing.T) {
	r := &remote{}
	p := pool(t, r, true)
	f := p.Begin(meta(6), 7)
	r.says(f, detect.News{Outcome: detect.Decided, App: app.FTP, Base: app.FTP})
	if out := feed(p, f, 0, 1, "ab"); out.Identified != detect.Decided {
		t.Errorf("%v, want the answer at once", out.Identified)
	}
	if got := p.Finish(f, 5); got != 0 {
		t.Errorf("waits until %d", got)
	}
	p.Await(time.Second)
	p.Flush()
	p.Stop()
	if last := r.calls[len(r.calls)-1]; last != "stop" {
		t.Errorf("the last call is %s", last)
	}
}

// TestMove moves flows from one Pool to another, in the middle of identification.
func TestMove(t *testing.T) {
	a, b := pool(t, nil, false), pool(t, nil, false)
	f := a.Begin(meta(6), 7)
	feed(a, f, 0, 1, request[:9])
	n := b.Adopt(a.Give(f.Number()), 70)
	g := b.Flow(n)
	if g.Owner != 70 || a.Flow(f.Number()) == nil {
		t.Fatalf("owner %d", g.Owner)
	}
	feed(b, g, 0, 10, request[9:])
	if g.App != app.HTTP {
		t.Errorf("after the move: %v", g.App)
	}
	b.Drop(g)
	for _, r := range []*remote{{}, {unmoving: true}} {
		from, to := pool(t, &remote{}, false), pool(t, r, false)
		f := from.Begin(meta(6), 7)
		feed(from, f, 0, 1, "ab")
		g := to.Flow(to.Adopt(from.Give(f.Number()), 70))
		if g.Elsewhere() == r.unmoving || g.Lost() != r.unmoving || (g.Outcome() == detect.Decided) != r.unmoving {
			t.Errorf("unmoving %v: elsewhere %v, lost %v, %v", r.unmoving, g.Elsewhere(), g.Lost(), g.Outcome())
		}
		if m := from.Begin(meta(6), 8); m == f {
			t.Error("an exported flow was reused")
		}
	}
	// To a pool without a remote.
	from, to := pool(t, &remote{}, false), pool(t, nil, false)
	f = from.Begin(meta(6), 7)
	if g := to.Flow(to.Adopt(from.Give(f.Number()), 1)); !g.Lost() || g.Elsewhere() {
		t.Error("elsewhere without a remote")
	}
	to.Poll()
	to.Flush()
	to.Await(time.Millisecond)
	to.Stop()
}

// TestPoolIsUsedAgain checks that numbers are reused.
func TestPoolIsUsedAgain(t *testing.T) {
	p := pool(t, nil, false)
	if p.Flow(0) != nil {
		t.Error("number 0 is a flow")
	}
	for i := range 1000 {
		f := p.Begin(meta(6), uint32(i+1))
		feed(p, f, 0, 1, "GET /")
		if f.Number() != 1 {
			t.Fatalf("flow %d has number %d", i, f.Number())
		}
		p.Drop(f)
	}
}

func TestFeedingDoesNotAllocate(t *testing.T) {
	p := pool(t, nil, false)
	f := p.Begin(meta(6), 7)
	seq := uint32(1)
	b := []byte{0x80}
	n := testing.AllocsPerRun(8, func() {
		p.Feed(f, 0, identify.Bytes{Data: b, Wire: 1, Seq: seq, First: 1})
		seq++
	})
	if n > 1 { // the first bytes take a buffer
		t.Errorf("%v allocations for a segment", n)
	}
}

func FuzzFeed(f *testing.F) {
	f.Add([]byte(request), uint16(3), true)
	f.Add([]byte("SSH-2.0-x\r\n"), uint16(1), false)
	f.Fuzz(func(t *testing.T, b []byte, cut uint16, tcp bool) {
		r := &remote{}
		reg, err := builtin.Registry()
		if err != nil {
			t.Fatal(err)
		}
		p := identify.New(identify.Config{Parsers: reg, Remote: r})
		proto := uint8(17)
		if tcp {
			proto = 6
		}
		x := p.Begin(meta(proto), 7)
		for seq := uint32(1); len(b) > 0; {
			n := min(len(b), int(cut)%97+1)
			p.Feed(x, parsers.Dir(seq&1), identify.Bytes{Data: b[:n], Wire: n, Seq: seq, First: 1})
			b, seq = b[n:], seq+uint32(n)
		}
		p.Close(x, false)
		if x.Outcome() != detect.Decided {
			t.Errorf("closed, and %v", x.Outcome())
		}
		p.Drop(x)
	})
}
