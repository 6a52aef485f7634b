package server

import (
	"cmp"
	"context"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/controller/learn"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/internal/vocab"
	"github.com/sluicenet/sluice/store"
)

// dropMalformed counts connections without required fields.
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
	if err := c.s.admit(ctx, r.Node, cmp.Or(r.Sender, r.Run)); err != nil {
		return nil, err
	}
	dirty, err := c.observe(r)
	if err == nil && dirty {
		err = c.s.flush(ctx)
	}
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "report %d of %s: %v", r.Sequence, r.Node, err)
	}
	return &controlv1.ReportConnectionsResponse{Sequence: r.Sequence}, nil
}

// observe counts and learns from a report, and reports whether there is something to store
// before it is acknowledged: what came of it, or of the same report when it came before. That one may
// still be on its way to the store, and then it must get there first.
func (c *collector) observe(r *controlv1.ReportConnectionsRequest) (dirty bool, err error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	lessons, fresh := s.count(r)
	if fresh && s.cfg.Journal {
		if err := c.write(r); err != nil {
			return false, err
		}
	}
	if err := c.learn(lessons); err != nil {
		return false, err
	}
	return !fresh || len(s.dirty) > 0, nil
}

// count counts a report, if that was not done yet, and gives what may be learned from it. The lock
// is held.
func (s *history) count(r *controlv1.ReportConnectionsRequest) (lessons []learn.Connection, fresh bool) {
	n := s.dir.node(r.Node)
	if !n.knows(r.Run) {
		s.graph.NewRun(n.name)
	}
	b := n.boot(r.Run)
	if r.Sequence <= b.Sequence {
		return nil, false
	}
	b.Sequence = r.Sequence
	s.unsaved = true
	for cause, count := range r.Dropped {
		s.drop(cause, count)
	}
	lessons = make([]learn.Connection, 0, len(r.Connections))
	oriented := s.crossed.oriented(r.Connections)
	s.forged.note(s.dir, n, r.Connections)
	for i, c := range r.Connections {
		client, server, err := s.dir.ends(n, c)
		if err != nil {
			s.drop(dropMalformed, 1)
			continue
		}
		s.forged.name(&client, c)
		o, err := s.add(n, r.Run, c, oriented[i], &client, &server)
		if err != nil {
			s.drop(dropMalformed, 1)
			continue
		}
		if o.Reason == flow.BySpoofed || o.Verdict == flow.Open && o.Reason != flow.ByUnready {
			continue // not the client's own, or not subject to policy
		}
		if (o.Reason == flow.ByRelated || o.Related != "") && !located(o, c) {
			continue // it is part of another connection
		}
		x := lesson(c, &client, &server)
		x.Closed = !s.teaches(n, c) || !s.opens(&client, c) || !s.opens(&server, c)
		lessons = append(lessons, x)
	}
	for _, t := range r.Threats {
		s.threat(n, t)
	}
	for _, u := range r.Unjudged {
		s.unjudgedReport(n, u)
	}
	return lessons, true
}

// add adds a connection to the graph and the events, and returns what was observed. shown is the
// connection with the client that is shown; policy has decided for the one of c. The lock is held.
func (s *history) add(n *node, run string, c, shown *controlv1.Connection, client, server *end) (*graph.Observation, error) {
	o := s.observation(n, c, client, server)
	o.Run = run
	if shown.Egress != c.Egress {
		cl, sv, err := s.dir.ends(n, shown)
		if err != nil {
			return nil, err
		}
		judged := o
		o = s.observation(n, shown, &cl, &sv)
		o.Run, o.Judged = run, judged
		client, server = &cl, &sv
	}
	s.graph.Add(o)
	if !s.replaying {
		s.events.Connection(connectionReport(o, shown, client, server))
	}
	return o, nil
}

// located reports whether a related connection is to a service of its own: a port mapper announced
// where it is (RFC 1833), and they come back without asking again. The ports that
// kernels give out change with each start.
func located(o *graph.Observation, c *controlv1.Connection) bool {
	return (o.Base == app.SunRPC || o.App == app.SunRPC || o.App == app.NFS) && c.ServerPort < learn.Ephemeral
}

// teaches reports whether a rule may come of a connection: one that was let through to be learned, one
// that names the application of a rule which has none, or one of a workload in discover mode that ended
// before its first policy came. The lock is held.
func (s *book) teaches(n *node, c *controlv1.Connection) bool {
	switch vocab.FlowVerdict(c.GetVerdict()) {
	case flow.Learn:
		return vocab.FlowReason(c.Reason) != flow.ByUnidentified // its name is that of nothing
	case flow.Allow:
		return names(s.rules, c)
	case flow.Open:
		m := s.dir.reporter(n, c)
		return vocab.FlowReason(c.Reason) == flow.ByUnready && m != nil && s.mode(m.group) == controlv1.Mode_MODE_DISCOVER
	}
	return false
}

// names reports whether a connection names the application of a rule that was learned without one.
func names(rules *model.Rules, c *controlv1.Connection) bool {
	if id := app.ID(c.App); id == app.Undecided || id == app.Unknown && c.Midstream || vocab.FlowReason(c.Reason) == flow.ByUnidentified {
		return false
	}
	r, ok := rules.Find(c.Rule)
	return ok && r.Origin == model.Learned && len(r.Apps) == 0
}

// learn makes rules of what was let through to be learned. The lock is held.
func (c *collector) learn(list []learn.Connection) error {
	s := c.s
	if len(list) == 0 {
		return nil
	}
	rules := s.learner.Learn(list, s.now().UnixNano())
	for i := range rules {
		if err := s.markRule(&rules[i]); err != nil {
			return err
		}
		level := slog.LevelInfo
		if rules[i].Wide() {
			level = slog.LevelWarn
		}
		s.log.Log(context.Background(), level, "rule learned", "id", rules[i].ID, "rule", rules[i].String(), "wide", rules[i].Wide())
	}
	if err := markAsides(s); err != nil {
		return err
	}
	gone := s.learner.TakeDeleted()
	for _, id := range gone {
		if err := s.unmarkRule(id); err != nil {
			return err
		}
		s.log.Info("rule replaced or set aside", "id", id)
	}
	if len(rules)+len(gone) > 0 {
		s.stale = true
		s.kick()
	}
	return nil
}

// reports reports whether an end is a workload that an agent is attached to, so that its own
// report counts the connection. The lock is held.
func (s *book) reports(e *end) bool {
	if e.member == nil || e.member.workload.HostNet {
		return false
	}
	n := s.dir.nodes[e.member.node]
	return n.status == nil || n.status.WorkloadErrors[e.member.workload.Id] == ""
}

func lesson(c *controlv1.Connection, client, server *end) learn.Connection {
	return learn.Connection{
		From: client.group, To: server.group, Proto: uint8(c.Proto), Port: uint16(c.ServerPort), ClientPort: uint16(c.ClientPort),
		App: app.ID(c.App), Verdict: flow.Learn, Lossy: c.Lossy, Evidence: vocab.FlowEvidence(c.Evidence), Outcome: vocab.FlowOutcome(c.Outcome),
		Answered: c.Answered, Received: c.Received, Midstream: c.Midstream, Idle: c.Idle, Ended: c.Ended > 0 && c.Ended >= c.Sessions,
		Source: clientSource(client), Server: server.addr, Name: serverName(c.Attrs),
	}
}

// Bounds on the causes of losses that agents name.
const (
	maxCauses = 200
	maxCause  = 64
)

// drop counts records that were lost. The lock is held.
func (s *history) drop(cause string, n uint64) {
	if _, ok := s.dropped[cause]; !ok && len(s.dropped) >= maxCauses {
		cause = "other"
	}
	s.dropped[cause[:min(len(cause), maxCause)]] += n
}
