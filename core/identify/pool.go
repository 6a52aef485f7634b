package identify

import (
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/stream"
	"github.com/sluicenet/sluice/parsers"
)

const certain = parsers.Certain

// PacketBytes is how much of a packet is kept for threats found in it later.
const PacketBytes = 256

// maxThreats bounds the threats waiting for TakeThreats, maxExpected the connections waiting for
// TakeExpected, maxFollowing the flows that are read beyond the limits of identification.
const (
	maxThreats   = 256
	maxExpected  = 256
	maxFollowing = 16384
)

// Config configures a Pool; Parsers is required.
type Config struct {
	Parsers *parsers.Registry
	// Remote identifies sessions outside of the process, beside Parsers; nil: there is none.
	Remote detect.Remote
	// Wait makes each remote request be waited for: captures.
	Wait bool
}

// Threat is a threat that a parser found in a session's bytes.
type Threat struct {
	Owner uint32
	ID    uint16
	Text  string
	// Packet is the packet that showed it; for a remote finding, the beginning of the last
	// packet sent to the remote. It is borrowed: valid as long as the last argument of Feed.
	Packet []byte
}

// Expected is a connection that a session announced.
type Expected struct {
	Owner uint32
	parsers.Expectation
	// Packet is as that of Threat.
	Packet []byte
}

// Pool holds the flows of one worker; only its goroutine uses it. Number 0 is no flow.
type Pool struct {
	cfg     Config
	streams *stream.Pool
	all     []*Flow
	free    []uint32
	news    []uint32 // flows that were answered since the last Answered
	listed  []uint32 // what Answered returned last
	threats []Threat
	taken   []Threat // what TakeThreats returned last
	// expected waits for TakeExpected; announced is what that returned last.
	expected, announced []Expected
	following           int // flows read beyond the limits
}

// New returns an empty Pool.
func New(cfg Config) *Pool {
	return &Pool{cfg: cfg, streams: stream.NewPool(stream.Config{Segments: detect.MaxPackets}), all: []*Flow{nil}}
}

// Flow returns the flow of a number; nil for 0.
func (p *Pool) Flow(n uint32) *Flow { return p.all[n] }

// Refused returns how many directions of streams were not read to the end because there was no room.
func (p *Pool) Refused() uint64 { return p.streams.Refused() }

// Shows reports whether any datagram of an application shows it, whatever came before.
func (p *Pool) Shows(a app.ID) bool {
	if !p.cfg.Parsers.Shows(a) {
		return false
	}
	r, ok := p.cfg.Remote.(detect.Shower)
	return p.cfg.Remote == nil || ok && r.Shows(a)
}

// Parsers returns the parsers of this process.
func (p *Pool) Parsers() *parsers.Registry { return p.cfg.Parsers }

// Begin starts a flow. owner is the caller's identifier of it, not 0.
func (p *Pool) Begin(m parsers.Meta, owner uint32) *Flow {
	f := p.get()
	f.Reset(p.cfg.Parsers, m)
	f.limited = false
	f.Owner, f.Share = owner, stream.Owner{}
	f.OnThreat, f.OnExpect = f.report, f.expect
	if p.cfg.Remote != nil {
		f.far.number, f.far.lost = p.cfg.Remote.Open(&f.Meta, f.number)
	}
	return f
}

// get returns an unused flow.
func (p *Pool) get() *Flow {
	if n := len(p.free); n > 0 {
		i := p.free[n-1]
		p.free = p.free[:n-1]
		return p.all[i]
	}
	f := &Flow{}
	p.add(f)
	return f
}

// add assigns a number to a flow, and makes it report its session's threats to the Pool.
func (p *Pool) add(f *Flow) {
	if n := len(p.free); n > 0 {
		f.number = p.free[n-1]
		p.free = p.free[:n-1]
		p.all[f.number] = f
	} else {
		f.number = uint32(len(p.all))
		p.all = append(p.all, f)
	}
	p.attach(f)
}

// attach makes a flow report to the Pool.
func (p *Pool) attach(f *Flow) {
	f.report = func(id uint16, text string) { p.threat(f, id, text) }
	f.expect = func(e parsers.Expectation) { p.expect(f, &e) }
}

func (p *Pool) expect(f *Flow, e *parsers.Expectation) {
	if len(p.expected) < maxExpected {
		p.expected = append(p.expected, Expected{f.Owner, *e, f.shown()})
	}
}

func (p *Pool) threat(f *Flow, id uint16, text string) {
	if len(p.threats) < maxThreats {
		p.threats = append(p.threats, Threat{f.Owner, id, text, f.shown()})
	}
}

// Drop ends a flow and frees it.
func (p *Pool) Drop(f *Flow) {
	f.leaveRemote(p.cfg.Remote)
	f.Ident.Close()
	for d, a := range f.dirs {
		if a != nil {
			p.streams.Put(a)
			f.dirs[d] = nil
		}
	}
	f.later, f.overdue = false, 0
	p.unfollow(f)
	f.packets, f.far, f.Owner, f.latest = 0, far{listed: f.far.listed}, 0, f.latest[:0]
	p.free = append(p.free, f.number)
}

// Give detaches a flow for another Pool. Its pending remote answer moves with it.
func (p *Pool) Give(n uint32) *Flow {
	f := p.all[n]
	if f.far.number != 0 {
		f.far.parcel = p.cfg.Remote.Export(f.far.number)
		f.far.number = 0
	}
	f.far.listed = false
	empty := &Flow{number: n}
	p.attach(empty)
	p.unfollow(f)
	p.all[n] = empty
	p.free = append(p.free, n)
	for _, a := range f.dirs {
		if a != nil {
			p.streams.Release(a)
		}
	}
	return f
}

// Adopt takes over a flow of another Pool. One that cannot continue remotely is decided
// locally.
func (p *Pool) Adopt(f *Flow, owner uint32) uint32 {
	p.add(f)
	f.Owner, f.OnThreat, f.OnExpect = owner, f.report, f.expect
	for _, a := range f.dirs {
		if a != nil {
			p.streams.Adopt(a)
		}
	}
	if f.far.parcel == nil {
		return f.number
	}
	if p.cfg.Remote != nil {
		f.far.number = p.cfg.Remote.Adopt(f.far.parcel, f.number)
	}
	f.far.parcel = nil
	if f.far.number == 0 {
		f.far.lost = true
		f.Ident.End()
	}
	return f.number
}

// TakeThreats returns the threats since the last call; they are valid until the next.
func (p *Pool) TakeThreats() []Threat {
	if len(p.threats) == 0 {
		return nil
	}
	p.threats, p.taken = p.taken[:0], p.threats
	return p.taken
}

// TakeExpected returns the connections announced since the last call; they are valid until the next.
func (p *Pool) TakeExpected() []Expected {
	if len(p.expected) == 0 {
		return nil
	}
	p.expected, p.announced = p.announced[:0], p.expected
	return p.announced
}

// Answered returns the numbers of the flows with remote answers since the last call, each
// once; it is valid until the next. Some may have been dropped meanwhile: their Owner is 0.
func (p *Pool) Answered() []uint32 {
	if len(p.news) == 0 {
		return nil
	}
	p.news, p.listed = p.listed[:0], p.news
	for _, n := range p.listed {
		p.all[n].far.listed = false
	}
	return p.listed
}

// Poll receives remote answers; Answered lists them.
func (p *Pool) Poll() {
	if p.cfg.Remote != nil {
		p.cfg.Remote.Poll(answers{p})
		p.cfg.Remote.Flush()
	}
}

// list has Answered return a flow.
func (p *Pool) list(f *Flow) {
	if !f.far.listed {
		f.far.listed = true
		p.news = append(p.news, f.number)
	}
}

// Flush sends the pending requests.
func (p *Pool) Flush() {
	if p.cfg.Remote != nil {
		p.cfg.Remote.Flush()
	}
}

// Await waits until all requests are answered, at most d.
func (p *Pool) Await(d time.Duration) {
	if p.cfg.Remote == nil {
		return
	}
	if p.cfg.Wait {
		d = syncAnswers
	}
	p.cfg.Remote.Flush()
	p.cfg.Remote.Wait(d)
	p.cfg.Remote.Poll(answers{p})
}

// Stop ends all remote identification; no other call follows.
func (p *Pool) Stop() {
	if p.cfg.Remote != nil {
		p.cfg.Remote.Stop()
	}
}
