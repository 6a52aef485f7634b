package server

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/model"
)

// bootsKept is how many runs of an agent a node is remembered for. An agent sends what its previous runs
// have left in their order, so only a report that was on its way all the time can be of an older one.
const bootsKept = 16

// directory knows the nodes, their workloads and who has which address. The server's lock
// guards it.
type directory struct {
	nodes     map[string]*node
	addresses map[netip.Addr][]*member
	hosts     map[netip.Addr]string // addresses of nodes themselves
	subnets   []netip.Prefix        // of workload interfaces and settings: internal even without a known workload
	inside    *bart.Lite            // the same, for look-ups
	broadcast map[netip.Addr]bool   // broadcast addresses of the subnets
	settings  []netip.Prefix        // subnets that the settings call internal
	gone      departed
}

// node is one agent's machine.
type node struct {
	name     string
	members  map[string]*member // by workload id
	own      []netip.Addr
	digest   uint64 // of the list of workloads that was reported last
	reported bool   // the agent has reported its workloads since this controller started
	stored   uint64 // version of its workloads in the store
	boots    []boot // newest last
	policy   uint64 // version the agent enforces
	attached map[string]string
	shown    map[string]*controlv1.Workload // by id, as the agent reported them last
	status   *controlv1.ReportStatusRequest // nil before the first
	seen     int64                          // ns since the epoch, 0 before the first status
}

// boot is one run of an agent and the last report taken of it.
type boot struct {
	ID       string `json:"id"`
	Sequence uint64 `json:"sequence"`
}

// member is one workload of a node.
type member struct {
	node     string
	group    string
	workload *controlv1.Workload // as reported; not changed afterwards
	policy   model.Workload      // the same as policy sees it
}

func newDirectory() *directory {
	return &directory{nodes: make(map[string]*node), inside: new(bart.Lite)}
}

// node is the node of a name, made where it is new.
func (d *directory) node(name string) *node {
	n := d.nodes[name]
	if n == nil {
		n = &node{name: name, members: make(map[string]*member)}
		d.nodes[name] = n
	}
	return n
}

// replace makes a list the workloads of a node.
func (d *directory) replace(name string, members []*member, own []netip.Addr) {
	n := d.node(name)
	clear(n.members)
	for _, m := range members {
		n.members[m.workload.Id] = m
	}
	n.own = own
	d.index()
}

// index rebuilds the look-ups.
func (d *directory) index() {
	d.addresses = make(map[netip.Addr][]*member)
	d.hosts = make(map[netip.Addr]string)
	d.subnets = append(d.subnets[:0], d.settings...)
	for _, m := range d.all() {
		if m.workload.HostNet {
			continue // its addresses are the node's
		}
		for _, p := range m.policy.Addresses {
			a := p.Addr()
			d.addresses[a] = append(d.addresses[a], m)
			if !p.IsSingleIP() && !a.IsLinkLocalUnicast() && !a.IsLoopback() {
				d.subnets = append(d.subnets, p.Masked())
			}
		}
	}
	slices.SortFunc(d.subnets, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	d.subnets = slices.Compact(d.subnets)
	d.inside = new(bart.Lite)
	d.broadcast = make(map[netip.Addr]bool)
	for _, p := range d.subnets {
		d.inside.Insert(p.Masked())
		if b, ok := model.Broadcast(p); ok {
			d.broadcast[b] = true
		}
	}
	for _, n := range d.nodes {
		for _, a := range n.own {
			d.hosts[a] = n.name
		}
	}
}

// all is every workload, by node and id.
func (d *directory) all() []*member {
	var out []*member
	for _, n := range d.nodes {
		for _, m := range n.members {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b *member) int {
		return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.workload.Id, b.workload.Id))
	})
	return out
}

// names is the nodes' names in order.
func (d *directory) names() []string {
	out := make([]string, 0, len(d.nodes))
	for name := range d.nodes {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// owner is the workload that has an address, one of the asking node first: the same
// address may be in use on several nodes. nil if no workload has it.
func (d *directory) owner(node string, a netip.Addr) *member {
	list := d.addresses[a]
	if a.IsLinkLocalUnicast() {
		return linkOwner(node, list)
	}
	for _, m := range list {
		if m.node == node {
			return m
		}
	}
	if len(list) > 0 {
		return list[0]
	}
	return nil
}

// linkOwner is the owner of a link-local address, which means another host on each link: the only
// one on the asking node, or else the only one of all.
func linkOwner(node string, list []*member) *member {
	var near *member
	n := 0
	for _, m := range list {
		if m.node == node {
			near = m
			n++
		}
	}
	switch {
	case n == 1:
		return near
	case n == 0 && len(list) == 1:
		return list[0]
	}
	return nil
}

// internal reports whether an address is in a subnet of some workload.
func (d *directory) internal(a netip.Addr) bool { return d.inside.Contains(a) }

// knows reports whether a run of the node's agent has reported.
func (n *node) knows(id string) bool {
	return slices.ContainsFunc(n.boots, func(b boot) bool { return b.ID == id })
}

// boot is what is known of one run of the node's agent, made where it is new; nil where
// it is older than those remembered.
func (n *node) boot(id string) *boot {
	for i := range n.boots {
		if n.boots[i].ID == id {
			return &n.boots[i]
		}
	}
	n.boots = append(n.boots, boot{ID: id})
	if len(n.boots) > bootsKept {
		n.boots = slices.Delete(n.boots, 0, 1)
	}
	return &n.boots[len(n.boots)-1]
}
