package session_test

import (
	"math/rand/v2"
	"testing"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// stack is one end of a connection as RFC 9293 has it: it numbers what it sends and acknowledges what came in order.
type stack struct {
	iss, nxt, rcv uint32 // ISS, SND.NXT, RCV.NXT
	sent          []*packet.Packet
	finished      bool // it has sent its FIN
	peerFinished  bool // it has got the other's
}

// segment is the stack's next segment; it is kept to be sent again.
func (k *stack) segment(flags uint8, n int) *packet.Packet {
	p := &packet.Packet{Proto: packet.ProtoTCP, Flags: flags, Seq: k.nxt, PayloadWire: n, Window: 60000}
	if flags&ack != 0 {
		p.Ack = k.rcv
	}
	k.nxt += uint32(n)
	if flags&(syn|fin) != 0 {
		k.nxt++
	}
	k.finished = k.finished || flags&fin != 0
	k.sent = append(k.sent, p)
	return p
}

// receive takes a segment in order; anything else is repeated later.
func (k *stack) receive(p *packet.Packet) {
	end := p.Seq + uint32(p.PayloadWire)
	if p.Flags&(syn|fin) != 0 {
		end++
	}
	if p.Flags&syn != 0 {
		k.rcv = end
		return
	}
	if int32(p.Seq-k.rcv) <= 0 && int32(end-k.rcv) > 0 {
		k.rcv = end
		k.peerFinished = k.peerFinished || p.Flags&fin != 0
	}
}

// again is a segment that was sent before, with today's acknowledgement, as stacks retransmit.
func (k *stack) again(r *rand.Rand) *packet.Packet {
	p := *k.sent[1:][r.IntN(len(k.sent)-1)] // the SYN is acknowledged
	p.Ack = k.rcv
	return &p
}

// talk is a random conversation: handshake, data both ways with losses and repetitions behind the tap, close by either end. tap sees every
// segment that is sent, in order.
func talk(r *rand.Rand, tap func(dir int, p *packet.Packet, ends *[2]stack)) {
	var ends [2]stack
	for i := range ends {
		ends[i].iss = r.Uint32()
		ends[i].nxt = ends[i].iss
	}
	send := func(dir int, p *packet.Packet, lost bool) {
		tap(dir, p, &ends)
		if !lost {
			ends[dir^1].receive(p)
		}
	}
	send(0, ends[0].segment(syn, 0), false)
	send(1, ends[1].segment(syn|ack, 0), false)
	send(0, ends[0].segment(ack, 0), false)
	for range r.IntN(60) {
		dir := r.IntN(2)
		me := &ends[dir]
		if len(me.sent) == 1 {
			send(dir, me.segment(ack, 0), false)
		}
		switch r.IntN(4) {
		case 0:
			send(dir, me.segment(ack, 0), false)
		case 1, 2:
			// What the other end has not got yet stays below its window.
			if me.nxt-ends[dir^1].rcv < 20000 {
				send(dir, me.segment(ack, 1+r.IntN(1400)), r.IntN(5) == 0)
			}
		case 3:
			send(dir, me.again(r), false)
		}
	}
	first := r.IntN(2)
	for _, dir := range []int{first, first ^ 1} {
		me := &ends[dir]
		send(dir, me.segment(ack|fin, r.IntN(2)*100), false)
		for _, p := range me.sent[1:] {
			q := *p
			q.Ack = me.rcv
			send(dir, &q, false) // go-back-N: whatever was lost comes now
		}
		send(dir^1, ends[dir^1].segment(ack, 0), false)
	}
	send(first, ends[first].segment(ack, 0), false)
}

// TestConversations: whatever two honest stacks say, the tracker believes every segment, sees no gap, and sees the end.
func TestConversations(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	for n := range 1500 {
		s := session.Session{Key: key(1), ClientIsA: n%2 == 0}
		opened, closedNow := 0, 0
		talk(r, func(dir int, p *packet.Packet, ends *[2]stack) {
			was := s.State
			res := s.Track(p, dir, 0)
			if !res.Valid && !was.Over() && p.Flags&syn == 0 {
				t.Fatalf("conversation %d: %d %+v is not believed in %q: %+v", n, dir, p, was, res)
			}
			if res.Events&(session.Gap|session.BadFlags|session.ResetNow|session.Reopen|session.AfterFIN) != 0 {
				t.Fatalf("conversation %d: %+v in %q: got events %#x", n, p, was, res.Events)
			}
			if res.Has(session.Opened) {
				opened++
			}
			if res.Has(session.ClosedNow) {
				closedNow++
			}
			if was.Over() && s.State != was {
				t.Fatalf("conversation %d: from %q to %q", n, was, s.State)
			}
		})
		if opened != 1 || closedNow != 1 || s.State != flow.PhaseClosed {
			t.Fatalf("conversation %d: opened %d, closed %d times, in the end %q", n, opened, closedNow, s.State)
		}
	}
}

// TestResetsAreExact: at any moment the numbers that ResetSeq gives are those the receiver expects (RFC 5961 3.2), where it got
// everything that was sent.
func TestResetsAreExact(t *testing.T) {
	r := rand.New(rand.NewPCG(23, 24))
	exact := 0
	for range 500 {
		s := session.Session{Key: key(1), ClientIsA: true}
		talk(r, func(dir int, p *packet.Packet, ends *[2]stack) {
			// The state of both ends before p: everything before it was tracked.
			for d := range 2 {
				seq, _, ok := s.ResetSeq(d)
				if s.State != flow.PhaseEstablished || ends[d].nxt != ends[d^1].rcv {
					continue
				}
				if p.Seq+uint32(p.PayloadWire) == ends[d].nxt && d == dir && p.PayloadWire > 0 {
					continue // p itself is numbered already
				}
				if !ok || seq != ends[d^1].rcv {
					t.Fatalf("direction %d: got %d %v, the receiver expects %d", d, seq, ok, ends[d^1].rcv)
				}
				probe := s
				if res := probe.Track(&packet.Packet{Proto: packet.ProtoTCP, Flags: rst, Seq: seq}, d, 0); !res.Has(session.ResetNow) {
					t.Fatalf("direction %d: the tracker does not believe its own numbers: %+v", d, res)
				}
				exact++
			}
			s.Track(p, dir, 0)
		})
	}
	if exact < 5000 {
		t.Errorf("only %d moments were compared", exact)
	}
}

// TestBlindSegments: an attacker who does not know the numbers changes nothing: whatever is not valid leaves the session as it was.
func TestBlindSegments(t *testing.T) {
	r := rand.New(rand.NewPCG(25, 26))
	refused := 0
	for range 400 {
		s := session.Session{Key: key(1), ClientIsA: true}
		talk(r, func(dir int, p *packet.Packet, _ *[2]stack) {
			for range 4 {
				q := packet.Packet{Proto: packet.ProtoTCP, Flags: uint8(r.Uint32()), Seq: r.Uint32(), Ack: r.Uint32(), PayloadWire: r.IntN(1400), Window: uint16(r.Uint32())}
				before := s
				if res := s.Track(&q, r.IntN(2), 0); !res.Valid {
					refused++
					if s != before {
						t.Fatalf("%+v is not valid and changed the session:\n%+v\n%+v", q, before, s)
					}
				}
				s = before
			}
			s.Track(p, dir, 0)
		})
	}
	if refused < 20000 {
		t.Errorf("only %d segments were refused", refused)
	}
}

// TestTapLoses: a tap that misses frames believes the connection all the same, and reports as lost no more than it missed.
func TestTapLoses(t *testing.T) {
	r := rand.New(rand.NewPCG(27, 28))
	gaps := 0
	for n := range 600 {
		s := session.Session{Key: key(1), ClientIsA: true}
		var missed [2]uint64
		var lost [2]uint64
		talk(r, func(dir int, p *packet.Packet, _ *[2]stack) {
			if s.State == flow.PhaseEstablished && p.PayloadWire > 0 && p.Flags&fin == 0 && r.IntN(6) == 0 {
				missed[dir] += uint64(p.PayloadWire)
				return
			}
			was := s.State
			res := s.Track(p, dir, 0)
			if !res.Valid && was == flow.PhaseEstablished {
				t.Fatalf("conversation %d: %+v is not believed: %+v", n, p, res)
			}
			if res.Has(session.Gap) {
				gaps++
				lost[dir^1] += uint64(res.Lost)
			}
		})
		for d := range 2 {
			if lost[d] > missed[d] {
				t.Fatalf("conversation %d: %d bytes of direction %d are said to be lost, %d were missed", n, lost[d], d, missed[d])
			}
		}
	}
	if gaps < 100 {
		t.Errorf("only %d gaps were seen", gaps)
	}
}
