package frag

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"time"

	"github.com/sluicenet/sluice/core/packet"
)

// Reassembler holds the fragments of one worker. It is not safe for concurrent use.
type Reassembler struct {
	cfg   Config
	seed  maphash.Seed
	table map[key]*datagram
	ages  [2]list   // oldest first: IPv4, IPv6
	last  *datagram // of the last Add, for SetVerdict
	buf   []byte    // of the last datagram completed
	stats Stats
	shares
}

// New returns a Reassembler.
func New(cfg Config) *Reassembler {
	cfg.MaxDatagrams = cmp.Or(cfg.MaxDatagrams, 1024)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 4<<20)
	cfg.MaxPieces = cmp.Or(cfg.MaxPieces, 256)
	cfg.Timeout4 = cmp.Or(cfg.Timeout4, 30*time.Second)
	cfg.Timeout6 = cmp.Or(cfg.Timeout6, 60*time.Second)
	return &Reassembler{cfg: cfg, seed: maphash.MakeSeed(), table: map[key]*datagram{}, shares: newShares()}
}

// Add adds a fragment that was decoded from f; now is the caller's clock in ns. Whether a
// first fragment is too small for its transport header is in p.Reason already; it is
// reassembled like any other.
func (r *Reassembler) Add(p *packet.Packet, f *packet.Frame, now int64) Result {
	return r.add(p, f, now, r.cfg.KeepFrames)
}

// Watch is Add without a copy of the frame, for endpoints that are only observed.
func (r *Reassembler) Watch(p *packet.Packet, f *packet.Frame, now int64) Result {
	return r.add(p, f, now, false)
}

// SetVerdict records the verdict on the datagram of the last Add (Complete or Bad); later
// copies of its fragments follow it until the timeout.
func (r *Reassembler) SetVerdict(v packet.Verdict) {
	if r.last != nil && r.last.decided {
		r.last.verdict = v
	}
}

// SetOwner sets whose the datagram of the last Add (Complete) is.
func (r *Reassembler) SetOwner(o Owner) {
	if r.last != nil && r.last.decided {
		r.last.owner, r.last.owned = o, true
	}
}

// Owner returns whose the datagram is that p is a fragment of, which need not hold any of the
// fragment's data; false if the datagram is not whole or is forgotten.
func (r *Reassembler) Owner(p *packet.Packet, endpoint uint32) (o Owner, ok bool) {
	if p.Status != packet.Fragment {
		return Owner{}, false
	}
	d := r.table[keyOf(p, endpoint)]
	if d == nil {
		return Owner{}, false
	}
	return d.owner, d.owned
}

// Waiting reports whether fragments of an incomplete datagram of an endpoint are held.
func (r *Reassembler) Waiting(endpoint uint32) bool {
	for k, d := range r.table {
		if k.endpoint == endpoint && !d.decided {
			return true
		}
	}
	return false
}

// Expire discards datagrams older than their timeout and returns the number of incomplete
// ones among them.
func (r *Reassembler) Expire(now int64) int {
	n := 0
	for family, timeout := range [...]time.Duration{r.cfg.Timeout4, r.cfg.Timeout6} {
		for d := r.ages[family].front; d != nil && now-d.since >= int64(timeout); d = r.ages[family].front {
			if !d.decided {
				n++
			}
			r.discard(d)
		}
	}
	r.stats.Expired += uint64(n)
	return n
}

// Stats returns the counters and the present contents.
func (r *Reassembler) Stats() Stats {
	s := r.stats
	s.Datagrams = len(r.table)
	return s
}

func (r *Reassembler) add(p *packet.Packet, f *packet.Frame, now int64, keep bool) Result {
	r.last = nil
	if p.Status != packet.Fragment {
		return Result{}
	}
	r.stats.Fragments++
	r.Expire(now)
	k := keyOf(p, f.Endpoint)
	pc, reason := r.pieceOf(p)
	d := r.table[k]
	if d != nil && d.decided {
		if d.bad || reason == "" && d.holds(pc) {
			r.stats.Duplicates++
			return Result{Outcome: Decided, Verdict: d.verdict}
		}
		// The sender has wrapped round to the same identification: another datagram, which must not
		// have the verdict of the one before.
		r.discard(d)
		d = nil
	}
	if d == nil {
		d = r.begin(k, now)
	}
	r.last = d
	if reason == "" {
		var duplicate bool
		if duplicate, reason = d.insert(pc, r.cfg.MaxPieces); duplicate {
			r.stats.Duplicates++
			return Result{Outcome: Held}
		}
	}
	if reason != "" {
		return r.poison(d, reason, now)
	}
	if d.whole() {
		return r.complete(d, p, f, now)
	}
	if !r.hold(d, p, f, pc, keep) {
		return r.poison(d, NoRoom, now)
	}
	return Result{Outcome: Held}
}

// pieceOf returns a fragment's position and data, still borrowed, or the reason why it is
// bad.
func (r *Reassembler) pieceOf(p *packet.Packet) (piece, Reason) {
	head := int(p.Network[0]&15) * 4
	room := 0xffff - head
	total := int(binary.BigEndian.Uint16(p.Network[2:]))
	if p.IPv6 {
		if p.FragHeader < 40 || p.FragHeader+8 > len(p.Network) {
			return piece{}, BadHeader
		}
		head = p.FragHeader + 8
		room = 0xffff - (p.FragHeader - 40)
		total = 40 + int(binary.BigEndian.Uint16(p.Network[4:]))
	}
	data := p.Network[min(head, len(p.Network)):]
	pc := piece{at: int(p.FragOffset), size: len(data), data: data, last: !p.MoreFrags}
	switch {
	case total > len(p.Network):
		return pc, CutShort
	case len(data) == 0:
		return pc, Empty
	case pc.at+pc.size > room:
		return pc, Oversize
	}
	pc.sum = maphash.Bytes(r.seed, data)
	return pc, ""
}

// begin adds a new datagram, evicting others if there are too many.
func (r *Reassembler) begin(k key, now int64) *datagram {
	r.makeRoom(&k, nil, datagramCost)
	d := &datagram{key: k, since: now}
	r.table[k] = d
	r.ages[d.family()].push(d)
	r.shares.add(d)
	r.charge(d, datagramCost)
	return d
}

// hold copies the piece's data, with the frame around it if that is to be kept, and makes
// room for it. It returns false if there is none.
func (r *Reassembler) hold(d *datagram, p *packet.Packet, f *packet.Frame, pc piece, keep bool) bool {
	cost := pieceCost + pc.size
	if keep {
		cost += frameCost + len(f.Data) - pc.size
	}
	if pc.at == 0 {
		cost += len(p.Network) - pc.size
	}
	if !r.makeRoom(&d.key, d, cost) {
		return false
	}
	r.charge(d, cost)
	if pc.at == 0 {
		d.keepHead(p)
	}
	own := d.at(pc.at)
	if !keep {
		own.data = bytes.Clone(pc.data)
		return true
	}
	c := *f
	c.Data = bytes.Clone(f.Data)
	c.Slot, c.Verdict = 0, packet.Verdict{}
	d.frames = append(d.frames, &c)
	own.data = pc.within(p, f, c.Data)
	return true
}

// complete writes the datagram into the buffer and turns d into its record.
func (r *Reassembler) complete(d *datagram, p *packet.Packet, f *packet.Frame, now int64) Result {
	if p.FragOffset == 0 {
		d.keepHead(p)
	}
	r.buf = d.assemble(r.buf[:0])
	if r.buf == nil {
		return r.poison(d, BadHeader, now)
	}
	r.stats.Completed++
	frames := d.frames
	r.markDecided(d, now)
	return Result{Outcome: Complete, Frames: frames, Datagram: packet.Frame{
		Data: r.buf, Wire: uint32(len(r.buf)), Link: packet.RawIP,
		Stamp: f.Stamp, Endpoint: f.Endpoint, Dir: f.Dir,
	}}
}

// poison ends a datagram as bad; RFC 5722 4: its later fragments are bad too, for which the
// verdict is Drop unless the caller sets another.
func (r *Reassembler) poison(d *datagram, reason Reason, now int64) Result {
	r.stats.Bad++
	frames := d.frames
	d.pieces, d.bad, d.verdict.Action = nil, true, packet.Drop
	r.markDecided(d, now)
	return Result{Outcome: Bad, Reason: reason, Frames: frames}
}
