package frag

import "github.com/sluicenet/sluice/core/packet"

// An owner may have so many datagrams, and bytes of them, for each one that there is room for: an
// endpoint, and a source of an endpoint's. Beyond that its own oldest ones make room, so that none
// can push out those of others.
const (
	endpointShare = 7
	sourceShare   = 1
)

// source is who sends an endpoint fragments, or whom it sends as.
type source struct {
	endpoint uint32
	v6       bool
	src      packet.Addr
}

// sourceOf returns a datagram's source. An IPv6 host has a whole /64.
func sourceOf(k *key) source {
	s := source{k.endpoint, k.v6, k.src}
	if k.v6 {
		clear(s.src[8:])
	}
	return s
}

// part is what an owner has.
type part struct {
	datagrams, bytes int
	ages             list
}

// shares are the parts of all owners.
type shares struct {
	endpoints map[uint32]*part
	sources   map[source]*part
}

func newShares() shares { return shares{map[uint32]*part{}, map[source]*part{}} }

// of returns the parts that a datagram belongs to, created where missing.
func (s *shares) of(k *key) (endpoint, from *part) {
	endpoint, from = s.endpoints[k.endpoint], s.sources[sourceOf(k)]
	if endpoint == nil {
		endpoint = &part{ages: list{order: ofEndpoint}}
		s.endpoints[k.endpoint] = endpoint
	}
	if from == nil {
		from = &part{ages: list{order: ofSource}}
		s.sources[sourceOf(k)] = from
	}
	return endpoint, from
}

// add adds a new datagram.
func (s *shares) add(d *datagram) {
	e, f := s.of(&d.key)
	e.ages.push(d)
	f.ages.push(d)
	e.datagrams++
	f.datagrams++
}

// charge adds to the bytes of a datagram's owners.
func (s *shares) charge(d *datagram, n int) {
	e, f := s.of(&d.key)
	e.bytes += n
	f.bytes += n
}

// renew makes a datagram the youngest.
func (s *shares) renew(d *datagram) {
	e, f := s.of(&d.key)
	e.ages.remove(d)
	e.ages.push(d)
	f.ages.remove(d)
	f.ages.push(d)
}

// remove removes a datagram, whose bytes were subtracted.
func (s *shares) remove(d *datagram) {
	e, f := s.of(&d.key)
	e.ages.remove(d)
	f.ages.remove(d)
	if e.datagrams--; e.datagrams == 0 {
		delete(s.endpoints, d.key.endpoint)
	}
	if f.datagrams--; f.datagrams == 0 {
		delete(s.sources, sourceOf(&d.key))
	}
}

// exceeds reports whether an owner may not have n more bytes, of one more datagram where that is new.
func (p *part) exceeds(r *Reassembler, share, n, fresh int) bool {
	return p.bytes > 0 && p.bytes+n > share*(r.cfg.MaxBytes-r.stats.Bytes-n) ||
		p.datagrams > 0 && fresh > 0 && p.datagrams >= share*(r.cfg.MaxDatagrams-len(r.table))
}

// makeRoom makes room for n bytes of a datagram, or of a new one of the same key: of its owners first
// where they exceed their shares. It returns false if there is none.
func (r *Reassembler) makeRoom(k *key, keep *datagram, n int) bool {
	fresh := 0
	if keep == nil {
		fresh = 1
	}
	for {
		e, f := r.shares.of(k)
		var victim *datagram
		switch {
		case f.exceeds(r, sourceShare, n, fresh):
			victim = f.ages.oldest(keep)
		case e.exceeds(r, endpointShare, n, fresh):
			victim = e.ages.oldest(keep)
		}
		switch {
		case victim != nil:
			r.drop(victim)
		case r.stats.Bytes+n <= r.cfg.MaxBytes && len(r.table)+fresh <= r.cfg.MaxDatagrams:
			return true
		case !r.evict(keep):
			return false
		}
	}
}
