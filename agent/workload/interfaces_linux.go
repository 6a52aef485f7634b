package workload

import (
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// contents is what a namespace has.
type contents struct {
	links []netlink.Link
	// interfaces are those of the workload: through which traffic leaves or enters it, or that
	// have addresses.
	interfaces []Interface
	// addressed reports whether there is an address that others can reach, lo included.
	addressed bool
}

// maxMACs bounds the further MAC addresses of one interface.
const maxMACs = 16

// lister makes the interfaces of a namespace from its links.
type lister struct {
	links   map[int]netlink.Link
	global  map[int][]netip.Prefix // addresses that others can reach, by interface
	local   map[int][]netip.Addr   // link-local ones
	virtual []netip.Prefix         // on lo
	known   map[int]bool           // reported before; nil for a new workload
	uplinks map[int]bool           // namespaces at the other ends of veths, by number
	leads   map[int]bool           // interfaces that lead out
}

// interfacesOf lists the interfaces of a workload: those with an address other than link-local,
// those that lead out of the namespace, and those that were reported before, as long as they exist:
// removing addresses, adding the interface to a bridge or taking it down is possible inside, and must
// not end its enforcement. Addresses on lo that are reached from outside (virtual addresses of a
// service, anycast) are listed with the first interface: they are the workload's, whichever interface
// the frames for them take.
func interfacesOf(links []netlink.Link, addrs []netlink.Addr, known map[int]bool) contents {
	x := lister{links: map[int]netlink.Link{}, global: map[int][]netip.Prefix{}, local: map[int][]netip.Addr{}, known: known,
		uplinks: map[int]bool{}, leads: map[int]bool{}}
	for _, l := range links {
		x.links[l.Attrs().Index] = l
	}
	x.sortAddresses(addrs)
	x.findLeading()
	c := contents{links: links, addressed: len(x.virtual) > 0 || len(x.global) > 0}
	for _, l := range links {
		at := l.Attrs()
		if isLoopback(l) || len(x.global[at.Index]) == 0 && !x.leads[at.Index] && !known[at.Index] {
			continue
		}
		c.interfaces = append(c.interfaces, Interface{Name: at.Name, Index: at.Index, MAC: at.HardwareAddr.String(), Kind: l.Type(), Addresses: x.global[at.Index],
			LinkLocal: x.local[at.Index], Inner: x.carrier(l), MACs: x.macsAbove(l)})
	}
	slices.SortFunc(c.interfaces, func(a, b Interface) int { return a.Index - b.Index })
	if len(c.interfaces) > 0 {
		c.interfaces[0].Addresses = append(c.interfaces[0].Addresses, x.virtual...)
	}
	for i := range c.interfaces {
		n := &c.interfaces[i]
		slices.SortFunc(n.Addresses, netip.Prefix.Compare)
		n.Addresses = slices.Compact(n.Addresses)
		slices.SortFunc(n.LinkLocal, netip.Addr.Compare)
	}
	return c
}

func isLoopback(l netlink.Link) bool { return l.Attrs().RawFlags&unix.IFF_LOOPBACK != 0 }

// sortAddresses assigns the addresses to their interfaces.
func (x *lister) sortAddresses(addrs []netlink.Addr) {
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		ip = ip.Unmap()
		l := x.links[a.LinkIndex]
		switch {
		case !ok || l == nil || ip.IsLoopback():
		case isLoopback(l):
			if !ip.IsLinkLocalUnicast() {
				x.virtual = append(x.virtual, netip.PrefixFrom(ip, ip.BitLen())) // no subnet is behind lo
			}
		case ip.IsLinkLocalUnicast():
			x.local[a.LinkIndex] = append(x.local[a.LinkIndex], ip)
		default:
			ones, _ := a.Mask.Size()
			x.global[a.LinkIndex] = append(x.global[a.LinkIndex], netip.PrefixFrom(ip, ones))
		}
	}
}

// findLeading finds the interfaces that lead out of the namespace. The other end of a veth may also be
// a nested container's: it leads out if it is where an interface with an address leads, or one that was
// reported before. A new workload without any of these is given the benefit of the doubt.
func (x *lister) findLeading() {
	for index, l := range x.links {
		if at := l.Attrs(); l.Type() == "veth" && at.NetNsID >= 0 && (x.known[index] || len(x.global[index]) > 0 && at.MasterIndex == 0) {
			x.uplinks[at.NetNsID] = true
		}
	}
	atPorts := x.bondsAtPorts()
	for index, l := range x.links {
		if m := l.Attrs().MasterIndex; x.leadsOut(l) && x.bonded(m) && !atPorts[m] {
			x.leads[m] = x.links[m].Attrs().RawFlags&unix.IFF_UP != 0 // the bond is the interface of the workload
		} else {
			x.leads[index] = x.leads[index] || x.leadsOut(l)
		}
	}
}

// leadsOut reports whether an interface by itself leads out of the namespace.
func (x *lister) leadsOut(l netlink.Link) bool {
	at := l.Attrs()
	if at.RawFlags&unix.IFF_UP == 0 {
		return false
	}
	switch l.Type() {
	case "veth":
		return at.NetNsID >= 0 && (x.known == nil && len(x.uplinks) == 0 || x.uplinks[at.NetNsID])
	case "macvlan", "macvtap", "ipvlan", "ipvtap":
		return at.NetNsID >= 0
	case "device":
		return true
	}
	return false
}

// bondsAtPorts returns the bonds whose frames are judged at their ports, by number: a port that was
// reported before, as an interface of its own, stays one, so that it is never without enforcement.
func (x *lister) bondsAtPorts() map[int]bool {
	out := map[int]bool{}
	for index, l := range x.links {
		if m := l.Attrs().MasterIndex; x.known[index] && x.bonded(m) {
			out[m] = true
		}
	}
	return out
}

func (x *lister) bonded(master int) bool {
	m := x.links[master]
	return m != nil && (m.Type() == "bond" || m.Type() == "team")
}

// carrier returns the name of the interface of this namespace through which all frames of another go
// that leave it; "" for an interface of its own.
func (x *lister) carrier(l netlink.Link) string {
	at := l.Attrs()
	switch l.Type() {
	case "macvlan", "macvtap", "ipvlan", "ipvtap", "vlan":
		if p := x.links[at.ParentIndex]; p != nil && at.NetNsID < 0 && x.reported(p) {
			return p.Attrs().Name
		}
	case "bridge", "bond", "team":
		names := []string{}
		for _, p := range x.links {
			if p.Attrs().MasterIndex == at.Index && (x.leads[p.Attrs().Index] || x.known[p.Attrs().Index]) {
				names = append(names, p.Attrs().Name)
			}
		}
		if len(names) > 0 {
			return slices.Min(names)
		}
	}
	return ""
}

// reported reports whether an interface is an endpoint, or above one.
func (x *lister) reported(l netlink.Link) bool {
	i := l.Attrs().Index
	return len(x.global[i]) > 0 || x.leads[i] || x.known[i] || x.carrier(l) != ""
}

// macsAbove returns the MAC addresses other than its own of interfaces above an interface in its
// namespace: they send and receive through it, each by its own address.
func (x *lister) macsAbove(l netlink.Link) []string {
	var out []string
	seen := map[int]bool{l.Attrs().Index: true}
	for todo := []netlink.Link{l}; len(todo) > 0; todo = todo[1:] {
		below := todo[0].Attrs()
		for index, u := range x.links {
			at := u.Attrs()
			if seen[index] || at.NetNsID >= 0 {
				continue
			}
			switch u.Type() {
			case "macvlan", "macvtap", "ipvlan", "ipvtap", "vlan", "macsec":
				if at.ParentIndex != below.Index {
					continue
				}
			case "bridge", "bond", "team":
				if below.MasterIndex != index {
					continue
				}
			default:
				continue // a tunnel's frames are in packets of its own
			}
			seen[index] = true
			todo = append(todo, u)
			if mac := at.HardwareAddr.String(); len(at.HardwareAddr) == 6 && mac != l.Attrs().HardwareAddr.String() {
				out = append(out, mac)
			}
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), maxMACs)]
}

// indexes returns the numbers of a workload's interfaces; nil for no workload.
func indexes(w *Workload) map[int]bool {
	if w == nil {
		return nil
	}
	out := make(map[int]bool, len(w.Interfaces))
	for i := range w.Interfaces {
		out[w.Interfaces[i].Index] = true
	}
	return out
}
