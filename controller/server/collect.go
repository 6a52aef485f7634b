package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/controller/learn"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/internal/vocab"
	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/blob"
)

// dropMalformed counts connections that do not say what they must.
const dropMalformed = "malformed"

// ReportConnections takes what an agent observed: once, however often it is sent. What is
// learned from it is stored before it is acknowledged; the graph is stored from time to time.
func (c *collector) ReportConnections(ctx context.Context, r *controlv1.ReportConnectionsRequest) (*controlv1.ReportConnectionsResponse, error) {
	if err := checkNode(r.Node); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if r.Run == "" || len(r.Run) > maxName || r.Sequence == 0 {
		return nil, status.Errorf(codes.InvalidArgument, "node %s: a report needs the run of its agent and a sequence from 1 on", r.Node)
	}
	if c.s.cfg.Journal && proto.Size(r) > store.MaxCommit/2 {
		return nil, status.Errorf(codes.InvalidArgument, "report %d of %s is larger than %d bytes", r.Sequence, r.Node, store.MaxCommit/2)
	}
	dirty, err := c.s.observe(r)
	if err == nil && dirty {
		err = c.s.flush(ctx)
	}
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "report %d of %s: %v", r.Sequence, r.Node, err)
	}
	return &controlv1.ReportConnectionsResponse{Sequence: r.Sequence}, nil
}

// observe counts and learns from a report, and says whether there is something to store
// before it is acknowledged: what came of it, or of the same report when it came before. That one may
// still be on its way to the store, and then it must get there first.
func (s *Server) observe(r *controlv1.ReportConnectionsRequest) (dirty bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lessons, fresh := s.count(r)
	if fresh && s.cfg.Journal {
		if err := s.write(r); err != nil {
			return false, err
		}
	}
	if err := s.learn(lessons); err != nil {
		return false, err
	}
	return !fresh || len(s.dirty) > 0, nil
}

// count counts a report, if that was not done yet, and gives what may be learned from it. The lock
// is held.
func (s *Server) count(r *controlv1.ReportConnectionsRequest) (lessons []learn.Connection, fresh bool) {
	n := s.dir.node(r.Node)
	b := n.boot(r.Run)
	if r.Sequence <= b.Sequence {
		return nil, false
	}
	b.Sequence = r.Sequence
	s.unsaved = true
	for cause, count := range r.Dropped {
		s.dropped[cause] += count
	}
	watched := s.bus.observed()
	lessons = make([]learn.Connection, 0, len(r.Connections))
	for _, c := range r.Connections {
		client, server, err := s.dir.ends(n, c)
		if err != nil {
			s.dropped[dropMalformed]++
			continue
		}
		o := s.observation(n, c, &client, &server)
		o.Run = r.Run
		s.graph.Add(o)
		if s.teaches(n, c) && s.opens(&client, c.First) && s.opens(&server, c.First) {
			lessons = append(lessons, lesson(c, &client, &server))
		}
		if watched && worthTelling(c) {
			s.bus.publish(connectionEvent(c, &client, &server))
		}
	}
	if watched {
		s.publishThreats(n, r.Threats)
	}
	return lessons, true
}

// teaches says whether a rule may come of a connection: one that was let through to be learned,
// or one of a workload in discover mode that ended before its first policy came. The lock is held.
func (s *Server) teaches(n *node, c *controlv1.Connection) bool {
	switch vocab.FlowVerdict(c.GetVerdict()) {
	case flow.Learn:
		return vocab.FlowReason(c.Reason) != flow.ByUnidentified // its name is that of nothing
	case flow.Open:
		m := s.dir.reporter(n, c)
		return vocab.FlowReason(c.Reason) == flow.ByUnready && m != nil && s.mode(m.group) == controlv1.Mode_MODE_DISCOVER
	}
	return false
}

// opens says whether rules may be learned for an end: its group is in discover mode, or was when
// the connection began. A workload that still learns must not teach what may reach one that
// is protected or monitored, least of all what was refused there. The lock is held.
func (s *Server) opens(e *end, began int64) bool {
	return e.member == nil || s.mode(e.group) == controlv1.Mode_MODE_DISCOVER || began <= s.since[e.group]
}

// learn makes rules of what was let through to be learned. The lock is held.
func (s *Server) learn(list []learn.Connection) error {
	if len(list) == 0 {
		return nil
	}
	rules := s.learner.Learn(list, s.now().UnixNano())
	for i := range rules {
		if err := s.markRule(&rules[i]); err != nil {
			return err
		}
		s.log.Info("rule learned", "id", rules[i].ID, "rule", rules[i].String())
	}
	if len(rules) > 0 {
		s.stale = true
		s.kick()
	}
	return nil
}

// worthTelling says whether observers are told: of beginnings, ends and violations, but
// not of mere packets of connections that go on.
func worthTelling(c *controlv1.Connection) bool {
	v := vocab.FlowVerdict(c.Verdict)
	return c.Sessions > 0 || c.Ended > 0 || v == flow.Violate || v == flow.Deny
}

func (s *Server) observation(n *node, c *controlv1.Connection, client, server *end) *graph.Observation {
	near, far := server, client
	if c.Egress {
		near, far = far, near
	}
	return &graph.Observation{
		Node: n.name, Reporter: c.Workload, Egress: c.Egress, ClientReports: s.reports(client),
		// What a socket of the host's network tells of a connection with a workload is less than what
		// that workload's packets tell.
		Doubled: near.member != nil && near.member.workload.HostNet && s.reports(far),
		Kind: graph.Kind{
			From: client.group, To: server.group, FromWorkload: client.name(), ToWorkload: server.name(),
			Proto: uint8(c.Proto), Port: uint16(c.ServerPort), App: app.ID(c.App), IPv6: client.addr.Is6(),
			Verdict: vocab.FlowVerdict(c.Verdict),
		},
		Client: client.addr.String(), Server: server.addr.String(), Base: app.ID(c.Base),
		Reason: vocab.FlowReason(c.Reason), Rule: c.Rule, Sessions: c.Sessions, Ended: c.Ended,
		PacketsOut: c.PacketsOut, PacketsIn: c.PacketsIn, BytesOut: c.BytesOut, BytesIn: c.BytesIn,
		First: c.First, Last: c.Last, Answered: c.Answered, Attrs: c.Attrs, Session: c.Session,
	}
}

// reports says whether an end is a workload that an agent is attached to, so that its own
// report counts the connection. The lock is held.
func (s *Server) reports(e *end) bool {
	if e.member == nil || e.member.workload.HostNet {
		return false
	}
	n := s.dir.nodes[e.member.node]
	return n.status == nil || n.status.WorkloadErrors[e.member.workload.Id] == ""
}

func lesson(c *controlv1.Connection, client, server *end) learn.Connection {
	return learn.Connection{
		From: client.group, To: server.group, Proto: uint8(c.Proto), Port: uint16(c.ServerPort), ClientPort: uint16(c.ClientPort),
		App: app.ID(c.App), Verdict: flow.Learn, Evidence: vocab.FlowEvidence(c.Evidence), Outcome: vocab.FlowOutcome(c.Outcome),
		Answered: c.Answered, Ended: c.Ended > 0 && c.Ended >= c.Sessions,
	}
}

// publishThreats tells observers of threats. The lock is held.
func (s *Server) publishThreats(n *node, list []*controlv1.ThreatRecord) {
	for _, t := range list {
		src, ok1 := netip.AddrFromSlice(t.Src)
		dst, ok2 := netip.AddrFromSlice(t.Dst)
		if !ok1 || !ok2 {
			s.dropped[dropMalformed]++
			continue
		}
		from, to := s.dir.peer(n.name, src.Unmap()), s.dir.peer(n.name, dst.Unmap())
		e := &controlv1.Event{
			Stamp: t.Stamp, Kind: controlv1.EventKind_EVENT_KIND_THREAT, From: from.name(), To: to.name(), FromGroup: from.group, ToGroup: to.group,
			Proto: t.Proto, Port: t.DstPort, Family: family(from.addr.Is6()), Text: t.Text, Sessions: t.Count, Reporter: t.Workload,
		}
		if m := n.members[t.Workload]; m != nil {
			e.Reporter = m.workload.Name
		}
		s.bus.publish(e)
	}
}

// saved is what is kept of observations: the graph, and which reports are in it.
type saved struct {
	Graph *graph.Graph      `json:"graph"`
	Boots map[string][]boot `json:"boots"` // by node
}

// save stores the graph, if it changed.
func (s *Server) save(ctx context.Context) error {
	s.change.Lock()
	defer s.change.Unlock()
	s.mu.Lock()
	if !s.unsaved {
		s.mu.Unlock()
		return nil
	}
	x := saved{Graph: s.graph, Boots: make(map[string][]boot)}
	for name, n := range s.dir.nodes {
		x.Boots[name] = n.boots
	}
	data, err := json.Marshal(x) // under the lock, so that graph and boots agree
	s.unsaved = false
	s.graphVersion++ // used up even where it fails: it may have been written all the same
	version, kept := s.graphVersion, s.journal
	s.journal = journal{}
	s.mu.Unlock()
	if err == nil {
		if err = blob.Write(ctx, s.st, keyGraph, version, data); err != nil {
			err = fmt.Errorf("store graph: %w", err)
		}
	}
	if err == nil {
		if err = s.empty(ctx, kept.keys); err == nil {
			return nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsaved = true
	s.journal = journal{append(kept.keys, s.journal.keys...), kept.bytes + s.journal.bytes}
	return err
}

// loadLearned reads the graph and prepares for learning. A graph that cannot be read is
// history lost and said so, but no reason to leave workloads without a controller.
func (s *Server) loadLearned(ctx context.Context) error {
	s.learner, s.graph = learn.New(s.rules), graph.New(graph.Limits{})
	if err := blob.Clean(ctx, s.st, keyGraph); err != nil {
		return err
	}
	head, _, err := blob.ReadHead(ctx, s.st, keyGraph)
	if err != nil && !errors.Is(err, blob.ErrBroken) {
		return err
	}
	s.graphVersion = head.Version
	data, _, err := blob.Read(ctx, s.st, keyGraph)
	if err != nil && !errors.Is(err, blob.ErrBroken) {
		return err
	}
	x := saved{Graph: s.graph}
	if err == nil && data != nil {
		err = json.Unmarshal(data, &x)
	}
	if err != nil {
		s.log.Error("history of connections not readable, beginning anew", "error", err)
		s.graph = graph.New(graph.Limits{})
		return s.replay(ctx)
	}
	for name, boots := range x.Boots {
		s.dir.node(name).boots = boots
	}
	return s.replay(ctx)
}
