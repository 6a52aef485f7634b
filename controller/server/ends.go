package server

import (
	"fmt"
	"net/netip"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/filter"
	"github.com/sluicenet/sluice/controller/model"
)

// end is one end of a connection as users know it.
type end struct {
	member *member // nil where the address is no workload's
	addr   netip.Addr
	group  string // service group or a reserved one
	// host is the workload in its node's network that has this end, where its agent knows it. Policy
	// knows the end by the node's address only, so that member and group are those of that.
	host *member
}

// managed returns the workload that has the end; nil where none is known.
func (e *end) managed() *member {
	if e.member != nil {
		return e.member
	}
	return e.host
}

// name is the workload's name, or the address.
func (e *end) name() string {
	if m := e.managed(); m != nil {
		return m.workload.Name
	}
	return e.addr.String()
}

// node is the node of the workload, "" for an address.
func (e *end) node() string {
	if m := e.managed(); m != nil {
		return m.node
	}
	return ""
}

// seen is the end as filters see it.
func (e *end) seen() filter.End {
	return filter.End{Identity: filter.Identity{Node: e.node(), Name: e.name(), Group: e.group}, Addresses: []netip.Addr{e.addr}}
}

// share is whose part of bounded memory a connection takes: the client's where that is a workload,
// else the reporter's, because others choose their addresses freely.
func share(client *end, node, reporter string) string {
	if m := client.managed(); m != nil {
		return m.node + "/" + m.workload.Id
	}
	return node + "/" + reporter
}

// peer is who has an address, as a workload of a node sees it.
func (d *directory) peer(node string, a netip.Addr) end {
	e := end{addr: a, group: model.External}
	fixed := model.FixedGroup(a)
	if fixed == "" && d.broadcast[a] {
		fixed = model.Multicast
	}
	if fixed == model.Metadata || fixed == model.Multicast {
		e.group = fixed
		return e
	}
	if m := d.owner(node, a); m != nil {
		e.member, e.group = m, m.group
		return e
	}
	if _, ok := d.hosts[a]; ok {
		e.group = model.Nodes
	} else if fixed != "" || d.internal(a) {
		e.group = model.Unmanaged
	}
	return e
}

// peerThen is who had an address when a connection began, else who has it. What began in the last
// moment before its present owner was reported is that one's.
func (d *directory) peerThen(node string, a netip.Addr, began int64) end {
	e := d.peer(node, a)
	if e.member == nil || d.gone.before(e.member, a, began) {
		if m := d.gone.owned(a, began); m != nil {
			e.member, e.group = m, m.group
		}
	}
	return e
}

// ends are client and server of a reported connection. The reporter is one of them
// whatever its address: that of a workload may have changed since. What is sent to a multicast or
// broadcast address is a connection with that group, whoever receives it.
func (d *directory) ends(n *node, c *controlv1.Connection) (client, server end, err error) {
	ca, ok1 := netip.AddrFromSlice(c.GetClient())
	sa, ok2 := netip.AddrFromSlice(c.GetServer())
	if !ok1 || !ok2 {
		return client, server, fmt.Errorf("addresses of %d and %d bytes: they have 4 or 16", len(c.GetClient()), len(c.GetServer()))
	}
	client, server = d.peerThen(n.name, ca.Unmap(), c.First), d.peerThen(n.name, sa.Unmap(), c.First)
	if c.Egress && !c.Answered && (server.member == nil || d.gone.before(server.member, sa.Unmap(), c.First)) {
		if m := d.gone.last(sa.Unmap(), c.First); m != nil {
			server.member, server.group = m, m.group
		}
	}
	local, far := &server, &client
	if c.Egress {
		local, far = far, local
	}
	if m := d.reporter(n, c); m != nil && (c.Egress || server.group != model.Multicast) {
		local.member, local.group = m, m.group
	}
	if far.member == nil && c.Peer != "" {
		far.host = d.known(n, c.Peer, c.First)
	}
	return client, server, nil
}
