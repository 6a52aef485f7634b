package controller_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/owner"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// register asks for a node's name.
func (l *lab) register(node, run, machine string) *controlv1.RegisterNodeResponse {
	l.t.Helper()
	return must[*controlv1.RegisterNodeResponse](l.t)(l.collector.RegisterNode(l.t.Context(),
		&controlv1.RegisterNodeRequest{Node: node, Self: &controlv1.Owner{Run: run, Machine: machine, Started: 1700000000e9}, Boot: "boot-of-" + machine}))
}

// node returns a node's status.
func (l *lab) node(name string) *controlv1.NodeStatus {
	l.t.Helper()
	for _, n := range must[*controlv1.StatusResponse](l.t)(l.control.Status(l.t.Context(), &controlv1.StatusRequest{})).Nodes {
		if n.Node == name {
			return n
		}
	}
	l.t.Fatalf("status has no node %s", name)
	return nil
}

// TestClonedAgent: a second agent with a node's name changes nothing of what the first one reported,
// and both ends know of it.
func TestClonedAgent(t *testing.T) {
	l := newLab(t)
	if r := l.register("n1", "boot-1", "first"); !r.Granted {
		t.Fatalf("the first agent got %v", r)
	}
	l.shop("n1")
	before := len(must[*controlv1.ListWorkloadsResponse](t)(l.control.ListWorkloads(t.Context(), &controlv1.ListWorkloadsRequest{})).Workloads)
	if r := l.register("n1", "clone", "second"); r.Granted || r.Owner.GetMachine() != "first" {
		t.Errorf("the clone got %v", r)
	}
	web := seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Learn)
	_, werr := l.collector.ReportWorkloads(t.Context(), &controlv1.ReportWorkloadsRequest{Node: "n1", Run: "clone"})
	_, cerr := l.collector.ReportConnections(t.Context(), &controlv1.ReportConnectionsRequest{Node: "n1", Run: "clone", Sequence: 1, Connections: []*controlv1.Connection{web}})
	_, serr := l.collector.ReportStatus(t.Context(), &controlv1.ReportStatusRequest{Node: "n1", Run: "clone", Policy: 99})
	_, nerr := l.collector.ReportWorkloads(t.Context(), &controlv1.ReportWorkloadsRequest{Node: "n1"})
	for what, err := range map[string]error{"workloads": werr, "connections": cerr, "status": serr, "workloads without a run": nerr} {
		if status.Code(err) != codes.FailedPrecondition {
			t.Errorf("%s of the clone: got %v, want FailedPrecondition", what, err)
		}
	}
	if got := len(must[*controlv1.ListWorkloadsResponse](t)(l.control.ListWorkloads(t.Context(), &controlv1.ListWorkloadsRequest{})).Workloads); got != before || got == 0 {
		t.Errorf("%d workloads after the clone, %d before", got, before)
	}
	if got := l.edges(); len(got) != 0 {
		t.Errorf("the clone's connections count: %v", got)
	}
	n := l.node("n1")
	if n.Phase != controlv1.AgentPhase_AGENT_PHASE_OWNER || n.Owner.GetRun() != "boot-1" || len(n.Rivals) != 1 || n.Rivals[0].Machine != "second" || n.Policy == 99 {
		t.Errorf("status of the node: %v", n)
	}
	if a := must[*controlv1.ReportStatusResponse](t)(l.collector.ReportStatus(t.Context(), &controlv1.ReportStatusRequest{Node: "n1", Run: "boot-1"})); len(a.Rivals) != 1 {
		t.Errorf("the owner does not learn of its rival: %v", a)
	}
}

// TestOwnerChanges: a name goes to the next run after the first one released it, and stays with
// the stored owner when another controller takes the lead.
func TestOwnerChanges(t *testing.T) {
	l := newLab(t)
	l.register("n1", "one", "a")
	l.restart()
	if r := l.register("n1", "two", "b"); r.Granted {
		t.Fatal("a change of the leader gave the name away")
	}
	must[*controlv1.RegisterNodeResponse](t)(l.collector.RegisterNode(t.Context(), &controlv1.RegisterNodeRequest{Node: "n1", Self: &controlv1.Owner{Run: "one"}, Release: true}))
	if r := l.register("n1", "two", "b"); !r.Granted || time.Duration(r.RenewWithin) != owner.Lease {
		t.Fatalf("a released name was refused: %v", r)
	}
	l.restart()
	if r := l.register("n1", "one", "a"); r.Granted {
		t.Fatal("the run that released the name has it again")
	}
	// What a run before left is sent by its successor.
	web := seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Learn)
	if _, err := l.collector.ReportConnections(t.Context(), &controlv1.ReportConnectionsRequest{Node: "n1", Run: "one", Sender: "two", Sequence: 1, Connections: []*controlv1.Connection{web}}); err != nil {
		t.Errorf("reports that the run before left: %v", err)
	}
}

// TestSole: after standalone was killed its agent has the name at once, and a connection that is
// open all the time is in its row, although the kill lost that it began.
func TestSole(t *testing.T) {
	l := newLab(t)
	l.sole = true
	l.restart()
	l.register("n1", "boot-1", "m")
	l.shop("n1")
	web := seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Allow)
	web.Ended, web.Outcome = 0, controlv1.Outcome_OUTCOME_ESTABLISHED
	l.report("n1", 1, web)
	l.crash()
	if r := l.register("n1", "boot-2", "m"); !r.Granted {
		t.Fatalf("the next run is refused: %v", r)
	}
	must[*controlv1.ReportWorkloadsResponse](t)(l.collector.ReportWorkloads(t.Context(), &controlv1.ReportWorkloadsRequest{Node: "n1", Run: "boot-2",
		Workloads: []*controlv1.Workload{workload("web", "10.7.0.2/24"), workload("api", "10.7.0.3/24")}}))
	web.Continued, web.Sessions = web.Sessions, 0
	must[*controlv1.ReportConnectionsResponse](t)(l.collector.ReportConnections(t.Context(),
		&controlv1.ReportConnectionsRequest{Node: "n1", Run: "boot-2", Sequence: 1, Connections: []*controlv1.Connection{web}}))
	edges := must[*controlv1.ListConnectionsResponse](t)(l.control.ListConnections(t.Context(), &controlv1.ListConnectionsRequest{})).Edges
	if len(edges) != 1 || edges[0].Sessions != web.Continued || edges[0].Open != web.Continued {
		t.Errorf("%d sessions continue; got %v", web.Continued, edges)
	}
	if strings.Contains(l.log.String(), "level=ERROR") {
		t.Errorf("log:\n%s", l.log.String())
	}
}

// TestResend: the controller compares what it has with what the agent reported, and asks again.
func TestResend(t *testing.T) {
	l := newLab(t)
	l.register("n1", "one", "a")
	asks := func(digest uint64) bool {
		return must[*controlv1.ReportStatusResponse](t)(l.collector.ReportStatus(t.Context(), &controlv1.ReportStatusRequest{Node: "n1", Run: "one", WorkloadsDigest: digest})).ResendWorkloads
	}
	if asks(0) {
		t.Error("an agent that has reported no list yet gets a second request")
	}
	if !asks(7) {
		t.Error("a list that was not received is not requested")
	}
	must[*controlv1.ReportWorkloadsResponse](t)(l.collector.ReportWorkloads(t.Context(), &controlv1.ReportWorkloadsRequest{Node: "n1", Run: "one", Digest: 7}))
	if asks(7) {
		t.Error("a list that was received is requested again")
	}
	if !asks(8) {
		t.Error("a different list is not requested")
	}
	l.restart()
	if !asks(7) {
		t.Error("a restarted controller does not request the list")
	}
}

func TestRegisterErrors(t *testing.T) {
	l := newLab(t)
	for _, r := range []*controlv1.RegisterNodeRequest{{}, {Node: "n1"}, {Node: "n1", Self: &controlv1.Owner{}}, {Self: &controlv1.Owner{Run: "x"}}} {
		if _, err := l.collector.RegisterNode(t.Context(), r); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: got %v, want InvalidArgument", r, err)
		}
	}
}
