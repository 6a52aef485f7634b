package server

import (
	"net/netip"
	"strings"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/eventlog"
	"github.com/sluicenet/sluice/controller/filter"
	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/internal/vocab"
)

// maxRelated is the length at which the name of what a connection belongs to is cut.
const maxRelated = 96

// observation is a reported connection as the graph counts it. The client's end leads where it is
// managed and its agent is attached to it; what a socket of the host's network shows of a
// connection with a workload is less than what that workload's packets show. The lock is held.
func (s *history) observation(n *node, c *controlv1.Connection, client, server *end) *graph.Observation {
	near, far := server, client
	if c.Egress {
		near, far = far, near
	}
	doubled := near.member != nil && near.member.workload.HostNet && s.reports(far)
	o := &graph.Observation{
		Node: n.name, Reporter: c.Workload, Egress: c.Egress, Leads: !doubled && (c.Egress || !s.reports(client)), Share: share(client, n.name, c.Workload),
		Kind: graph.Kind{
			From: client.group, To: server.group, FromNode: client.node(), ToNode: server.node(), FromWorkload: client.name(), ToWorkload: server.name(),
			Proto: uint8(c.Proto), Port: uint16(c.ServerPort), App: app.ID(c.App), IPv6: client.addr.Is6(),
		},
		Client: client.addr, Server: server.addr, Base: app.ID(c.Base),
		Verdict: vocab.FlowVerdict(c.Verdict), Reason: vocab.FlowReason(c.Reason), Rule: c.Rule, Enforced: c.Enforced,
		Outcome: vocab.FlowOutcome(c.Outcome), Evidence: vocab.FlowEvidence(c.Evidence), Lossy: c.Lossy, Sessions: c.Sessions, Continued: c.Continued, Ended: c.Ended,
		PacketsOut: c.PacketsOut, PacketsIn: c.PacketsIn, BytesOut: c.BytesOut, BytesIn: c.BytesIn,
		First: c.First, Last: c.Last, Answered: c.Answered, Attrs: c.Attrs, Session: c.Session,
	}
	if c.Session != 0 {
		o.ClientPort = uint16(c.ClientPort)
	}
	// One that ended before the first policy was not judged by its parent.
	if o.Reason == flow.ByRelated || o.Reason == flow.ByUnready && c.Attrs["related"] != "" {
		o.Port, o.Related = 0, c.Attrs["related"]
		o.Related = strings.ToValidUTF8(o.Related[:min(len(o.Related), maxRelated)], "")
	}
	return o
}

// connectionReport is a reported connection as the event log joins it.
func connectionReport(o *graph.Observation, c *controlv1.Connection, client, server *end) *eventlog.Report {
	local := server
	if c.Egress {
		local = client
	}
	e := &controlv1.Event{
		Stamp: c.Last, From: o.FromWorkload, To: o.ToWorkload, FromGroup: o.From, ToGroup: o.To,
		Proto: c.Proto, Port: c.ServerPort, App: o.App.Name(), Verdict: vocab.Verdict(o.Verdict), Reason: vocab.Reason(o.Reason), Rule: c.Rule,
		Outcome: vocab.Outcome(o.Outcome), Family: family(o.IPv6), Egress: c.Egress, Client: o.Client.String(), Server: o.Server.String(),
		ClientPort: c.ClientPort, Sessions: c.Sessions, BytesOut: c.BytesOut, BytesIn: c.BytesIn, Attrs: c.Attrs, Reporter: local.name(), Began: c.First,
	}
	if c.Ended > 0 {
		e.Outcome = vocab.Outcome(o.Final())
	}
	r := &eventlog.Report{
		Key: eventlog.Key{Client: o.Client, Server: o.Server, ClientPort: uint16(c.ClientPort), ServerPort: uint16(c.ServerPort), Proto: o.Proto},
		Entry: &eventlog.Entry{Event: e, Share: o.Share, Subject: filter.Subject{
			From: client.seen(), To: server.seen(), Reporter: local.seen(), Proto: o.Proto, Port: uint16(c.ServerPort), App: o.App, Base: o.Base, HasApp: true, Family: e.Family}},
		Egress: c.Egress, Leads: o.Leads, Sessions: c.Sessions, Ended: c.Ended, Began: c.First,
	}
	if local.member != nil {
		r.End = &controlv1.EndVerdict{Workload: c.Workload, Verdict: e.Verdict, Reason: e.Reason, Rule: c.Rule, Enforced: c.Enforced}
	}
	return r
}

// threat keeps a threat and makes an event of it. The lock is held.
func (s *history) threat(n *node, t *controlv1.ThreatRecord) {
	src, ok1 := netip.AddrFromSlice(t.GetSrc())
	dst, ok2 := netip.AddrFromSlice(t.GetDst())
	if !ok1 || !ok2 {
		s.drop(dropMalformed, 1)
		return
	}
	from, to := s.dir.peerThen(n.name, src.Unmap(), t.Stamp), s.dir.peerThen(n.name, dst.Unmap(), t.Stamp)
	saw := s.dir.known(n, t.Workload, t.Stamp)
	if t.Peer != "" { // of the end that is not the workload's
		far := &from
		if from.member != nil && from.member == saw {
			far = &to
		}
		if far.member == nil {
			far.host = s.dir.known(n, t.Peer, t.Stamp)
		}
	}
	row := &graph.Threat{
		ID: t.Id, Text: t.Text, Node: n.name, Workload: t.Workload,
		Ends:   graph.Ends{From: from.group, To: to.group, FromNode: from.node(), ToNode: to.node(), FromWorkload: from.name(), ToWorkload: to.name()},
		Source: from.addr, Destination: to.addr, SourcePort: uint16(t.SrcPort),
		DestinationPort: uint16(t.DstPort), Proto: uint8(t.Proto), IPv6: from.addr.Is6(), Count: max(t.Count, 1), First: t.Stamp, Last: t.Stamp, Frame: t.Frame,
	}
	// The workload that saw it bounds it: a sender chooses its address freely.
	share := n.name + "/" + t.Workload
	s.graph.AddThreat(row, share)
	if s.replaying {
		return
	}
	e := &controlv1.Event{
		Kind: controlv1.EventKind_EVENT_KIND_THREAT, Stamp: t.Stamp, From: row.FromWorkload, To: row.ToWorkload, FromGroup: row.From, ToGroup: row.To,
		Proto: t.Proto, Port: t.DstPort, ClientPort: t.SrcPort, Client: row.Source.String(), Server: row.Destination.String(), Family: family(row.IPv6),
		Text: t.Text, Threat: t.Id, Sessions: row.Count, Reporter: t.Workload, Frame: t.Frame[:min(len(t.Frame), graph.MaxFrame)],
	}
	x := filter.Subject{Kind: e.Kind, From: from.seen(), To: to.seen(), Proto: row.Proto, Port: row.DestinationPort, First: e.Stamp, Last: e.Stamp, Family: e.Family, Threat: t.Id}
	if saw != nil {
		e.Reporter = saw.workload.Name
		x.Reporter = filter.End{Identity: saw.identity()}
	}
	s.events.Add(&eventlog.Entry{Event: e, Share: share, Subject: x})
}

// publish makes an event of a sentence about a node, or the controller itself. The lock is held.
func (s *history) publish(kind controlv1.EventKind, from, text string) {
	now := s.now().UnixNano()
	s.events.Add(&eventlog.Entry{Event: &controlv1.Event{Kind: kind, Stamp: now, From: from, Reporter: from, Text: text}, Share: "node/" + from,
		Subject: filter.Subject{Kind: kind, First: now, Last: now}})
}

// identity is the workload as rows name it.
func (m *member) identity() filter.Identity {
	return filter.Identity{Node: m.node, Name: m.workload.Name, Group: m.group}
}
