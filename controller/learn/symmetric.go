package learn

import (
	"net/netip"

	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// symmetric reports whether both ends of a conversation use one port, and its beginning was not
// seen: WireGuard, IKE or NTP between peers. Either may begin the next one.
func (c *Connection) symmetric() bool {
	return c.Proto == packet.ProtoUDP && c.Evidence == flow.EvidencePort && c.ClientPort != 0 && c.ClientPort == c.Port
}

// orientations returns a connection as it teaches. A symmetric one between workloads is one in both
// directions, and with others one that the workload begins: nothing shows that it is a server.
func (c *Connection) orientations() []Connection {
	if !c.symmetric() {
		return []Connection{*c}
	}
	there, back := *c, *c
	back.From, back.To = c.To, c.From
	back.Source, back.Server, back.Name = c.Server.String(), netip.Addr{}, ""
	switch {
	case model.KindOf(c.To) != model.Service:
		return []Connection{there}
	case model.KindOf(c.From) != model.Service:
		return []Connection{back}
	}
	return []Connection{there, back}
}
