// Package own holds which IP and MAC addresses are a workload's own, kept up to date from
// outside. It knows no packet and decides nothing; core/path compares.
package own

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicenet/sluice/core/packet"
)

// MAC is an Ethernet address.
type MAC = [6]byte

// Set is the addresses of a workload at one time, of all its interfaces. It is immutable.
type Set struct {
	addrs     map[packet.Addr]struct{}
	macs      map[MAC]struct{}
	links     []netip.Prefix           // subnets of its interfaces
	broadcast map[packet.Addr]struct{} // of these
	several   [2][]packet.Addr         // of IPv4 and IPv6, each in order; without those past maxSeveral
}

// maxSeveral bounds the addresses of one family among which a packet of the workload is sought.
const maxSeveral = 64

// NewSet returns the set of some addresses with their subnets, and MAC addresses.
func NewSet(addrs []netip.Prefix, macs []MAC) *Set {
	s := &Set{addrs: make(map[packet.Addr]struct{}, len(addrs)), macs: make(map[MAC]struct{}, len(macs)), broadcast: map[packet.Addr]struct{}{}}
	for _, p := range addrs {
		a := p.Addr().Unmap().WithZone("")
		if !a.IsValid() || a.IsUnspecified() {
			continue
		}
		s.addrs[packet.AddrFrom(a)] = struct{}{}
		if p.IsSingleIP() || a.IsLoopback() || a.BitLen() != p.Addr().BitLen() {
			continue
		}
		s.links = append(s.links, netip.PrefixFrom(a, p.Bits()).Masked())
		if a.Is4() && p.Bits() < 31 {
			b := a.As4()
			binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|(1<<(32-p.Bits())-1))
			s.broadcast[packet.AddrFrom(netip.AddrFrom4(b))] = struct{}{}
		}
	}
	for _, m := range macs {
		if m != (MAC{}) {
			s.macs[m] = struct{}{}
		}
	}
	for a := range s.addrs {
		f := family(!a.Netip().Is4())
		s.several[f] = append(s.several[f], a)
	}
	for f, list := range s.several {
		slices.SortFunc(list, func(a, b packet.Addr) int { return bytes.Compare(a[:], b[:]) })
		s.several[f] = list[:min(len(list), maxSeveral)]
	}
	return s
}

func family(ipv6 bool) int {
	if ipv6 {
		return 1
	}
	return 0
}

// Has reports whether an address is in the set.
func (s *Set) Has(a *packet.Addr) bool {
	_, ok := s.addrs[*a]
	return ok
}

// Several returns the addresses of a family where there are several, the first maxSeveral of them in
// order; nil where there is one.
func (s *Set) Several(ipv6 bool) []packet.Addr {
	list := s.several[family(ipv6)]
	if len(list) < 2 {
		return nil
	}
	return list
}

// Addrs calls fn for each address.
func (s *Set) Addrs(fn func(packet.Addr)) {
	for a := range s.addrs {
		fn(a)
	}
}

// Config is what a List needs besides its first Set. The zero value is a List that only Update
// changes.
type Config struct {
	// Workload is whose the addresses are: the lists of its interfaces have the same. "": of a workload
	// with one list.
	Workload string
	// Read returns the present addresses. It is called by the goroutine that finds an address
	// missing, and may take some 100 microseconds; nil: there is nothing to read.
	Read func() (*Set, error)
	// Gateways returns the MAC addresses from which routed packets come to the workload; nil: any.
	Gateways func() (map[MAC]struct{}, error)
	// Forwards: the workload routes or bridges for others, whose addresses are then seen at it.
	Forwards bool
}

// List is the present addresses of a workload. Its methods may be called from any goroutine.
type List struct {
	cfg      Config
	set      atomic.Pointer[Set]
	former   former
	gates    atomic.Pointer[map[MAC]struct{}]
	reading  sync.Mutex
	spent    [budgets]atomic.Int64 // of each Budget: until when the readings so far are paid for, ns since start
	nextGate atomic.Int64          // the same for Gateways
	start    time.Time
}

// New returns a list. A nil Set is empty.
func New(cfg Config, s *Set) *List {
	l := &List{cfg: cfg, start: time.Now()}
	if s == nil {
		s = NewSet(nil, nil)
	}
	l.set.Store(s)
	return l
}

// SameWorkload reports whether two lists are of one workload.
func (l *List) SameWorkload(o *List) bool {
	return l == o || l.cfg.Workload != "" && l.cfg.Workload == o.cfg.Workload
}

// Update replaces the addresses.
func (l *List) Update(s *Set) { l.former.replaced(l.set.Swap(s), s, time.Since(l.start)) }

// Had reports whether an address that is not the workload's own was so a while ago: connections
// that began by it still send, although they get no answer.
func (l *List) Had(a *packet.Addr) bool { return l.former.has(a, time.Since(l.start)) }

// Set returns the addresses as known now.
func (l *List) Set() *Set { return l.set.Load() }

// Forwards reports whether the workload routes or bridges for others.
func (l *List) Forwards() bool { return l.cfg.Forwards }

// Budget is what the addresses are read again for. Each has readings of its own, so that frames of others
// do not use up those that the workload's own packets need: an address may be in use within the
// millisecond in which it was added or moved.
type Budget uint8

// Budgets.
const (
	Sent     Budget = iota // a packet of the workload has a strange source
	Received               // a frame has a strange destination
	Claimed                // another host claims an address
	budgets  = iota
)

// HasAddr reports whether an address is the workload's own. An unknown one may have been added a
// moment ago: the addresses are read again.
func (l *List) HasAddr(a *packet.Addr, b Budget) bool {
	if l.Set().Has(a) {
		return true
	}
	l.refresh(b)
	return l.Set().Has(a)
}

// HasMAC is HasAddr for a MAC address.
func (l *List) HasMAC(m *MAC, b Budget) bool {
	if _, ok := l.Set().macs[*m]; ok {
		return true
	}
	l.refresh(b)
	_, ok := l.Set().macs[*m]
	return ok
}

// StillHas reports whether an address is the workload's own, after reading the addresses again: it
// may have been removed a moment ago.
func (l *List) StillHas(a *packet.Addr) bool {
	if !l.Set().Has(a) {
		return false
	}
	l.refresh(Claimed)
	return l.Set().Has(a)
}

// Broadcast reports whether an address is the broadcast address of a subnet of the workload.
func (l *List) Broadcast(a *packet.Addr) bool {
	_, ok := l.Set().broadcast[*a]
	return ok
}

// OnLink reports whether an address is in a subnet of the workload's interfaces.
func (l *List) OnLink(a *packet.Addr) bool {
	n := a.Netip()
	for _, p := range l.Set().links {
		if p.Contains(n) {
			return true
		}
	}
	return false
}

// Gateway reports whether routed packets may come to the workload from a MAC address.
func (l *List) Gateway(m *MAC) bool {
	if l.cfg.Gateways == nil {
		return true
	}
	if g := l.gates.Load(); g != nil {
		if _, ok := (*g)[*m]; ok {
			return true
		}
	}
	l.again(&l.nextGate, func() {
		if g, err := l.cfg.Gateways(); err == nil {
			l.gates.Store(&g)
		}
	})
	g := l.gates.Load()
	if g == nil {
		return true // they cannot be read
	}
	_, ok := (*g)[*m]
	return ok
}

// refresh reads the addresses again.
func (l *List) refresh(b Budget) {
	if l.cfg.Read == nil {
		return
	}
	l.again(&l.spent[b], func() {
		if s, err := l.cfg.Read(); err == nil {
			l.Update(s)
		}
	})
}

// A reading costs its budget readEvery, or readShare times what it took where it is slow, as in a
// namespace with thousands of interfaces; readAhead may be spent at once. Otherwise packets with strange
// addresses could keep a worker busy.
const (
	readEvery = 20 * time.Millisecond
	readAhead = 3 * readEvery
	readShare = 20
)

// again calls read unless too much was spent on it a moment ago.
func (l *List) again(spent *atomic.Int64, read func()) {
	if time.Duration(spent.Load()) > time.Since(l.start)+readAhead {
		return
	}
	l.reading.Lock()
	defer l.reading.Unlock()
	begin := time.Since(l.start)
	paid := time.Duration(spent.Load())
	if paid > begin+readAhead {
		return
	}
	read()
	spent.Store(int64(max(paid, begin) + max(readEvery, readShare*(time.Since(l.start)-begin))))
}
