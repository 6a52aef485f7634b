package policy

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/sluicenet/sluice/core/packet"
)

// ServiceSpec is an address and port whose connections are translated beyond the workload's interface:
// a Kubernetes service, a node's port, a published port of a container. Policy is about its targets.
type ServiceSpec struct {
	Proto   uint8            `json:"proto"` // IP protocol number
	At      netip.AddrPort   `json:"at"`
	Targets []netip.AddrPort `json:"targets"` // the latest first
}

// MaxTargets bounds the targets of a service that are asked.
const MaxTargets = 16

// services are the targets of translated addresses.
type services map[serviceKey][]target

type serviceKey struct {
	addr  packet.Addr
	port  uint16
	proto uint8
}

type target struct {
	addr packet.Addr
	ipv6 bool
	port uint16
}

// Translating returns the Table with services: a connection to one is judged as one to its target, by the
// strictest decision where it has several. Targets that no workload has are left out where another one
// has one: their workloads have ended. It returns the Table itself for no services.
func (t *Table) Translating(list []ServiceSpec) *Table {
	if len(list) == 0 {
		return t
	}
	n := t.clone()
	n.services = make(services, len(list))
	for i := range list {
		s := &list[i]
		at := s.At.Addr().Unmap()
		if to := n.targets(s); len(to) > 0 {
			n.services[serviceKey{packet.AddrFrom(at), s.At.Port(), s.Proto}] = to
		}
	}
	return n
}

// targets returns the targets of a service that policy asks about.
func (t *Table) targets(s *ServiceSpec) (out []target) {
	var strays []target
	for _, a := range s.Targets {
		addr := a.Addr().Unmap()
		x := target{packet.AddrFrom(addr), addr.Is6(), a.Port()}
		switch {
		case !t.owned(&x.addr, x.ipv6):
			strays = append(strays, x)
		case len(out) < MaxTargets:
			out = append(out, x)
		}
	}
	if len(out) == 0 {
		out = strays[:min(len(strays), MaxTargets)]
	}
	return out
}

// owned reports whether policy or a guest names the owner of one address.
func (t *Table) owned(a *packet.Addr, ipv6 bool) bool {
	return t.guests != nil && t.guests.find(a, ipv6) != 0 || t.hosts.find(a, ipv6) != 0
}

// clone returns a copy whose workloads ask it.
func (t *Table) clone() *Table {
	n := *t
	n.workloads = make(map[string]*Workload, len(t.workloads))
	for id, w := range t.workloads {
		n.workloads[id] = &Workload{table: &n, spec: w.spec, rows: w.rows}
	}
	return &n
}

// of returns the targets of what a query asks about; none where it is no service.
func (s services) of(q *Query) []target {
	if len(s) == 0 || q.Dir != packet.Egress {
		return nil
	}
	return s[serviceKey{q.Peer, q.Port, q.Proto}]
}

// translated returns the strictest decision on a connection to one of some targets.
func (w *Workload) translated(q *Query, to []target) (d Decision) {
	x := *q
	for i := range to {
		x.Peer, x.IPv6, x.Port = to[i].addr, to[i].ipv6, to[i].port
		if a := w.decideOwned(&x); i == 0 || rank(a.Verdict) < rank(d.Verdict) {
			d = a
		}
	}
	return d
}

// Equal reports whether two services have the same targets.
func (s ServiceSpec) Equal(o ServiceSpec) bool {
	return s.Proto == o.Proto && s.At == o.At && slices.Equal(s.Targets, o.Targets)
}

// Compare orders services by address, port and protocol.
func (s ServiceSpec) Compare(o ServiceSpec) int {
	return cmp.Or(s.At.Compare(o.At), cmp.Compare(s.Proto, o.Proto))
}
