package policy

import (
	"net/netip"
	"slices"

	"github.com/sluicenet/sluice/core/packet"
)

// maxOwners bounds the owners of one address that are asked.
const maxOwners = 4

// Doubt is how long before the reported end of a workload's hold of an address another one may have
// had it already, in ns: the end is noticed a moment later.
const Doubt = int64(1e9)

// owners are the identities of those who have an address. It is a value without pointers, on the
// stack.
type owners struct {
	n   int
	ids [maxOwners]uint32
	// vacant: no workload has the address, and last had it until a moment before the connection began.
	vacant bool
	last   uint32
}

func (o *owners) add(id uint32) {
	if o.n < maxOwners && !slices.Contains(o.ids[:o.n], id) {
		o.ids[o.n] = id
		o.n++
	}
}

// past is who had an address until a time, ns since the epoch.
type past struct {
	identity uint32
	ended    int64
	reused   bool // another workload has the address now
	vacant   bool // no workload is known to have it now
}

// addressBook is what is known of some addresses beyond one identity each. It does not change.
type addressBook struct {
	shared hosts // to one more than the index in sharers
	former hosts // the same, in formers

	sharers [][]uint32 // further identities of an address that several have
	formers [][]past   // earlier owners of an address, the first one first

	built bookBuilder // what it was built from
}

// ownersOf returns who must be asked about a connection's other end: who has the address, or had it when
// the connection began. Near the end of an owner it may have been the next one already.
func (t *Table) ownersOf(q *Query) (o owners) {
	if t.book == nil {
		o.ids[0], o.n = t.Identity(q.Peer, q.IPv6), 1
		return o
	}
	if i := t.book.former.find(&q.Peer, q.IPv6); i != 0 && q.Began != 0 {
		for _, p := range t.book.formers[i-1] {
			if q.Began > p.ended {
				o.vacant, o.last = p.vacant && q.Began-p.ended < Vacancy, p.identity
				continue
			}
			o.vacant = false
			o.add(p.identity)
			if !p.reused || q.Began <= p.ended-Doubt {
				return o
			}
		}
	}
	o.add(t.Identity(q.Peer, q.IPv6))
	if i := t.book.shared.find(&q.Peer, q.IPv6); i != 0 {
		for _, id := range t.book.sharers[i-1] {
			o.add(id)
		}
	}
	return o
}

// strictest returns the owner that policy lets do least, and its decision.
func (w *Workload) strictest(q *Query, o *owners) (uint32, Decision) {
	id, d := o.ids[0], w.decideFor(q, o.ids[0])
	for _, other := range o.ids[1:o.n] {
		if x := w.decideFor(q, other); rank(x.Verdict) < rank(d.Verdict) {
			id, d = other, x
		}
	}
	return id, d
}

// bookBuilder collects an addressBook.
type bookBuilder struct {
	sharers map[netip.Addr][]uint32
	formers map[netip.Addr][]past
}

func (b *bookBuilder) share(a netip.Addr, id uint32) {
	if b.sharers == nil {
		b.sharers = make(map[netip.Addr][]uint32)
	}
	if !slices.Contains(b.sharers[a], id) {
		b.sharers[a] = append(b.sharers[a], id)
	}
}

func (b *bookBuilder) former(a netip.Addr, p past) {
	if b.formers == nil {
		b.formers = make(map[netip.Addr][]past)
	}
	b.formers[a] = append(b.formers[a], p)
}

// build returns the book; nil if there is nothing in it.
func (b *bookBuilder) build() *addressBook {
	if len(b.sharers) == 0 && len(b.formers) == 0 {
		return nil
	}
	k := &addressBook{built: *b}
	var shared, former []AddressSpec
	for a, ids := range b.sharers {
		shared = append(shared, AddressSpec{netip.PrefixFrom(a, a.BitLen()), uint32(len(k.sharers))})
		k.sharers = append(k.sharers, ids)
	}
	for a, list := range b.formers {
		slices.SortFunc(list, func(x, y past) int { return int(min(max(x.ended-y.ended, -1), 1)) })
		former = append(former, AddressSpec{netip.PrefixFrom(a, a.BitLen()), uint32(len(k.formers))})
		k.formers = append(k.formers, list)
	}
	k.shared, k.former = newHosts(shared), newHosts(former)
	return k
}

// over returns the book with the shared addresses of another below it, except those of running guests.
func (k *addressBook) over(below *addressBook, present map[netip.Addr]uint32) *addressBook {
	var b bookBuilder
	for _, src := range []*addressBook{k, below} {
		if src == nil {
			continue
		}
		for a, ids := range src.built.sharers {
			if _, here := present[a]; src == below && here {
				continue // who has it here is known
			}
			for _, id := range ids {
				b.share(a, id)
			}
		}
		for a, list := range src.built.formers {
			for _, p := range list {
				b.former(a, p)
			}
		}
	}
	return b.build()
}

// specBook collects the addresses that a Spec gives to several identities.
func specBook(list []AddressSpec) *addressBook {
	first := make(map[netip.Prefix]uint32, len(list))
	var b bookBuilder
	for _, x := range list {
		if !x.Prefix.IsSingleIP() {
			continue
		}
		if id, ok := first[x.Prefix]; !ok {
			first[x.Prefix] = x.Identity
		} else if id != x.Identity {
			b.share(x.Prefix.Addr(), id)
			b.share(x.Prefix.Addr(), x.Identity)
		}
	}
	return b.build()
}

// subnet returns the identity that an address has without an owner.
func (t *Table) subnet(a netip.Addr) uint32 {
	id, _ := t.addresses.Lookup(a)
	return id
}

// listed returns the identity of an address as the policy lists it.
func (t *Table) listed(a netip.Addr) (uint32, bool) {
	k := packet.AddrFrom(a)
	id := t.hosts.find(&k, a.Is6())
	return id - 1, id != 0
}
