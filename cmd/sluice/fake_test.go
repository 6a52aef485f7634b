package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// noon is the time in golden outputs.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// fake is a daemon with one answer to everything.
type fake struct {
	controlv1.UnimplementedControlServer
	modes []string

	mu       sync.Mutex // guards what follows
	filters  []*controlv1.Filter
	settings controlv1.Settings
	stale    int      // how many writes of settings come too late
	streams  []string // cursors of the calls of Observe
	each     int      // events that a stream brings before it breaks; 0 never breaks
	forgets  bool     // no cursor is known
}

// takes notes a filter, and refuses names that nothing has.
func (f *fake) takes(l *controlv1.Filter) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.filters = append(f.filters, l)
	for _, n := range append(append(l.GetFrom(), l.GetTo()...), l.GetAbout()...) {
		if n == "wep" {
			return status.Error(codes.InvalidArgument, `nothing is called "wep": did you mean "web"?`)
		}
	}
	return nil
}

// part is a page of a list of n, and the token of the next.
func part[T any](list []T, p *controlv1.Page) (some []T, next string, total uint64) {
	from, _ := strconv.Atoi(p.GetToken())
	to := len(list)
	if l := int(p.GetLimit()); l > 0 {
		to = min(to, from+l)
	}
	if to < len(list) {
		next = strconv.Itoa(to)
	}
	return list[from:to], next, uint64(len(list))
}

func (*fake) Status(context.Context, *controlv1.StatusRequest) (*controlv1.StatusResponse, error) {
	state := &controlv1.AgentState{Ready: true, Parsers: "plugin", PolicyWanted: 7,
		Traffic: []*controlv1.Traffic{
			{Workload: "netns:web", Interface: "eth0", Backend: "inline", FramesOut: 900, FramesIn: 1100, BytesOut: 90_000, BytesIn: 2 << 20, Sessions: 3, Opened: 40,
				Verdicts: map[string]uint64{"allow": 38, "deny": 2}, Dropped: map[string]uint64{"denied": 4}},
			{Workload: "netns:web", Interface: "lo", Backend: "nfqueue", FramesOut: 5, FramesIn: 6, BytesOut: 100},
			{Workload: "netns:db", Interface: "eth0", Backend: "tap", FramesOut: 50, FramesIn: 60, BytesOut: 100, Sessions: 1, Verdicts: map[string]uint64{"learn": 1}},
			{Workload: "netns:db", Interface: "eth1", Backend: "tap", FramesOut: 1, FramesIn: 1, BytesOut: 100, Verdicts: map[string]uint64{"violate": 1}}},
		Queues: []*controlv1.Queue{{Backend: "inline", Queues: 1, Received: 2000, Sent: 1996, Waiting: 12, Fill: 0.25, Dropped: map[string]uint64{"ring_full": 0, "oversize": 1}, Bypassed: map[string]uint64{"no_heartbeat": 3}},
			{Backend: "tap", Workload: "netns:db", Interface: "eth0", Queues: 2, Received: 110, Dropped: map[string]uint64{"ring_full": 7}}},
		Plugins: []*controlv1.Plugin{{Name: "standard", Path: "/proc/self/exe", User: "nobody", Pid: 4711, Phase: controlv1.PluginPhase_PLUGIN_PHASE_RUNNING, Restarts: 1, Items: 99, Error: "it does not answer\x1b", Protocols: 3, Apps: []string{"http", "tls", "dns"}, Since: noon.UnixNano()},
			{Name: "own", Path: "/etc/sluice/plugins/own", User: "nobody", Phase: controlv1.PluginPhase_PLUGIN_PHASE_FAILED, Restarts: 10, Panics: 3, Away: true,
				Error: "it ended: exit status 2: panic: no", Warning: "it does not run, and is tried again every 1m0s"}},
		Uplink: &controlv1.Uplink{Controller: "10.0.0.11:9474", Answers: true, LastReport: noon.UnixNano(), Backlog: 5, Sent: 1000, Dropped: map[string]uint64{"uplink_full": 2}},
		Store:  &controlv1.StoreState{Name: "consul 10.0.0.1:8500", Error: "no server leads"}}
	return &controlv1.StatusResponse{Version: "v1", Started: noon.Add(-time.Hour).UnixNano(), Policy: 7, Workloads: 2, Groups: 6, Rules: 2, Connections: 2, Sessions: 41,
		Violations: 3, Threats: 2, Unjudged: 12, Store: "consul 10.0.0.1:8500", Dropped: map[string]uint64{"uplink_full": 2}, Role: roleController,
		StoreState: &controlv1.StoreState{Name: "consul 10.0.0.1:8500", Reachable: true, Revision: 4711, Leader: "10.0.0.1:8300", Checked: noon.UnixNano()},
		Controllers: []*controlv1.ControllerState{{Name: "c1", Address: "10.0.0.11:9474", Version: "v1", Phase: controlv1.ControllerPhase_CONTROLLER_PHASE_LEADER, LastSeen: noon.UnixNano()},
			{Name: "c2", Address: "10.0.0.12:9474", Version: "v1", Phase: controlv1.ControllerPhase_CONTROLLER_PHASE_AWAY, LastSeen: noon.Add(-time.Minute).UnixNano(),
				Rivals: []*controlv1.Owner{{Run: "r9", Machine: "clone", Address: "10.0.0.99:1", Version: "v1"}}}},
		Nodes: []*controlv1.NodeStatus{{Node: "n1", Phase: controlv1.AgentPhase_AGENT_PHASE_OWNER, Owner: &controlv1.Owner{Run: "r1", Machine: "host1", Address: "10.0.0.21", Version: "v1", Started: noon.Add(-time.Hour).UnixNano(), Until: noon.Add(time.Minute).UnixNano()},
			Rivals: []*controlv1.Owner{{Run: "r2", Machine: "host1-copy\x1b", Address: "10.0.0.22", Version: "v1"}}, Policy: 6, Wanted: 7, LastSeen: noon.Add(-2 * time.Second).UnixNano(), Version: "v1", Counters: map[string]uint64{"engine.frames": 12},
			WorkloadErrors: map[string]string{"netns:db": "eth0 is gone; its connections are not seen"}, State: state,
			Warnings: []string{"workloads file w.yaml: it is empty: what it said before counts"}}}}, nil
}

func (*fake) ListWorkloads(context.Context, *controlv1.ListWorkloadsRequest) (*controlv1.ListWorkloadsResponse, error) {
	return &controlv1.ListWorkloadsResponse{Workloads: []*controlv1.Workload{
		{Id: "netns:web", Name: "web", Group: "svc:default/web", Mode: controlv1.Mode_MODE_PROTECT, Namespace: "default", Service: "web", Node: "n1", Netns: "/run/netns/web", Source: "netns",
			Interfaces: []*controlv1.Interface{{Name: "eth0", Mac: "02:00:00:00:00:01", Kind: "veth", Addresses: []string{"10.0.0.1/24", "fd00::1/64"}, Backend: "inline",
				Note: "chosen by a command; hooked on the host's end of its veth, veth1"},
				{Name: "tun0", Kind: "tuntap", Addresses: []string{"10.9.0.1/24"}, Backend: "tap", Note: "copies, as there is no method to enforce", Error: "no MAC address"}}},
		{Id: "netns:db", Name: "db", Group: "svc:default/db", Mode: controlv1.Mode_MODE_DISCOVER, Namespace: "default", Node: "n1", Note: "the label sluice.net/backend says \"ebpf\" and is not followed", Interfaces: []*controlv1.Interface{{Name: "eth0", Addresses: []string{"10.0.0.2/24"}}}},
		{Id: "host:n1", Name: "n1", Group: "svc:default/host", Mode: controlv1.Mode_MODE_PROTECT, Namespace: "default", Service: "host", Node: "n1", HostNet: true, Source: "host", Note: "watched, never refused: host network"},
	}}, nil
}

func (*fake) ListGroups(context.Context, *controlv1.ListGroupsRequest) (*controlv1.ListGroupsResponse, error) {
	return &controlv1.ListGroupsResponse{Groups: []*controlv1.Group{{Name: "svc:default/web", Kind: controlv1.GroupKind_GROUP_KIND_SERVICE, Mode: controlv1.Mode_MODE_PROTECT, Fail: controlv1.Fail_FAIL_CLOSED, Members: []string{"netns:web"}, Rules: 2, Revision: 5},
		{Name: "svc:default/host", Kind: controlv1.GroupKind_GROUP_KIND_SERVICE, Mode: controlv1.Mode_MODE_PROTECT, Members: []string{"host:n1"}, Note: "watched, never refused: host network"}, {Name: "external", Kind: controlv1.GroupKind_GROUP_KIND_RESERVED}}}, nil
}

var fakeRule = &controlv1.Rule{Id: 1001, From: "svc:default/web", To: "svc:default/db", Ports: []string{"tcp/5432"}, Apps: []string{"postgresql"}, Action: controlv1.Action_ACTION_ALLOW, Origin: controlv1.Origin_ORIGIN_LEARNED, Created: noon.UnixNano()}

func (*fake) ListRules(context.Context, *controlv1.ListRulesRequest) (*controlv1.ListRulesResponse, error) {
	return &controlv1.ListRulesResponse{Rules: []*controlv1.Rule{{Id: 3, From: "any", To: "svc:default/db", Action: controlv1.Action_ACTION_DENY, Origin: controlv1.Origin_ORIGIN_USER, Comment: "no other\x1b client", Disabled: true,
		Warnings: []string{"svc:default/db has no members"}}, fakeRule}}, nil
}

func (*fake) ListSetAside(context.Context, *controlv1.ListSetAsideRequest) (*controlv1.ListSetAsideResponse, error) {
	return &controlv1.ListSetAsideResponse{Total: 1, Rules: []*controlv1.SetAside{{Rule: fakeRule, Cause: controlv1.AsideCause_ASIDE_CAUSE_SCAN,
		Source: "n1/web\x1b", First: noon.UnixNano(), Last: noon.UnixNano(), Omitted: 2}}}, nil
}

func (*fake) DecideSetAside(_ context.Context, r *controlv1.DecideSetAsideRequest) (*controlv1.DecideSetAsideResponse, error) {
	if r.Decision == controlv1.AsideDecision_ASIDE_DECISION_ACCEPT {
		return &controlv1.DecideSetAsideResponse{Rule: fakeRule}, nil
	}
	return &controlv1.DecideSetAsideResponse{}, nil
}

func (*fake) PutRule(_ context.Context, r *controlv1.PutRuleRequest) (*controlv1.PutRuleResponse, error) {
	r.Rule.Id = 4
	if r.Rule.From == "typo" {
		r.Rule.Warnings = []string{"typo has no members"}
	}
	return &controlv1.PutRuleResponse{Rule: r.Rule}, nil
}

func (*fake) DeleteRule(_ context.Context, r *controlv1.DeleteRuleRequest) (*controlv1.DeleteRuleResponse, error) {
	if r.Id != 3 {
		return nil, status.Errorf(codes.NotFound, "there is no rule %d", r.Id)
	}
	return &controlv1.DeleteRuleResponse{}, nil
}

func (f *fake) ListConnections(_ context.Context, r *controlv1.ListConnectionsRequest) (*controlv1.ListConnectionsResponse, error) {
	allow := &controlv1.EndVerdict{Workload: "netns:web", Verdict: controlv1.Verdict_VERDICT_ALLOW, Reason: controlv1.Reason_REASON_RULE, Rule: 1001, Enforced: true}
	deny := &controlv1.EndVerdict{Workload: "netns:db", Verdict: controlv1.Verdict_VERDICT_DENY, Reason: controlv1.Reason_REASON_DEFAULT, Enforced: true}
	out := &controlv1.ListConnectionsResponse{}
	out.Edges, out.NextToken, out.Total = part([]*controlv1.Edge{
		{From: "svc:default/web", To: "svc:default/db", FromWorkload: "web", ToWorkload: "db", Proto: 6, Port: 5432, App: "postgresql", Base: "postgresql", Verdict: controlv1.Verdict_VERDICT_ALLOW,
			Reason: controlv1.Reason_REASON_RULE, Rule: 1001, Sessions: 40, Open: 2, BytesOut: 1000, BytesIn: 200_000, First: noon.Add(-time.Hour).UnixNano(), Last: noon.Add(-3 * time.Minute).UnixNano(),
			Family: controlv1.Family_FAMILY_IPV4, Answered: true, Outcome: controlv1.Outcome_OUTCOME_CLOSED, Outcomes: map[string]uint64{"established": 2, "closed": 37, "reset": 1},
			Evidence: controlv1.Evidence_EVIDENCE_HANDSHAKE, ClientEnd: allow, ServerEnd: &controlv1.EndVerdict{Workload: "netns:db", Verdict: controlv1.Verdict_VERDICT_ALLOW}},
		{From: "svc:default/web", To: "svc:default/db", FromWorkload: "web", ToWorkload: "db", Proto: 6, Port: 6379, App: "unknown", Verdict: controlv1.Verdict_VERDICT_DENY, Reason: controlv1.Reason_REASON_DEFAULT,
			Sessions: 3, BytesOut: 180, Last: noon.Add(-time.Minute).UnixNano(), Family: controlv1.Family_FAMILY_IPV4, Outcome: controlv1.Outcome_OUTCOME_DENIED, Outcomes: map[string]uint64{"denied": 3},
			ClientEnd: allow, ServerEnd: deny},
		{From: "svc:default/web", To: "external", FromWorkload: "web", ToWorkload: "203.0.113.7", Proto: 6, Port: 443, App: "undecided", Verdict: controlv1.Verdict_VERDICT_LEARN, Reason: controlv1.Reason_REASON_DEFAULT,
			Sessions: 2, BytesOut: 120, Last: noon.Add(-2 * time.Second).UnixNano(), Family: controlv1.Family_FAMILY_IPV4, Outcome: controlv1.Outcome_OUTCOME_REFUSED, Lossy: true, ClientEnd: allow},
		{From: "external", To: "svc:default/web", FromWorkload: "203.0.113.9", ToWorkload: "web", Proto: 1, App: "unknown", Verdict: controlv1.Verdict_VERDICT_DENY, Reason: controlv1.Reason_REASON_DEFAULT,
			Sessions: 1, BytesOut: 84, Last: noon.Add(-time.Second).UnixNano(), Family: controlv1.Family_FAMILY_IPV6, Outcome: controlv1.Outcome_OUTCOME_DENIED},
	}, r.Page)
	return out, f.takes(r.Filter)
}

func (f *fake) ListViolations(_ context.Context, r *controlv1.ListViolationsRequest) (*controlv1.ListViolationsResponse, error) {
	all := []*controlv1.Violation{
		{Stamp: noon.Add(-5 * time.Second).UnixNano(), From: "unmanaged", To: "svc:default/db", FromWorkload: "10.0.0.66", ToWorkload: "db", Proto: 6, Port: 5432, App: "unknown",
			Verdict: controlv1.Verdict_VERDICT_DENY, Reason: controlv1.Reason_REASON_RULE, Rule: 3, Count: 2, Family: controlv1.Family_FAMILY_IPV4, Outcome: controlv1.Outcome_OUTCOME_DENIED,
			Reporter: "netns:db", Client: "10.0.0.66", Server: "10.0.0.2"},
		{Stamp: noon.Add(-9 * time.Second).UnixNano(), To: "svc:default/web", ToWorkload: "web", Verdict: controlv1.Verdict_VERDICT_VIOLATE, Reason: controlv1.Reason_REASON_FAILOPEN, Count: 12, Reporter: "netns:web",
			Text: "inline: heartbeat"}}
	for i := range 2600 {
		if r.Filter.GetFamily() == controlv1.Family_FAMILY_IPV6 { // a list of several pages
			all = append(all, &controlv1.Violation{Stamp: noon.Add(-time.Duration(i) * time.Minute).UnixNano(), FromWorkload: "web", ToWorkload: "db", Proto: 6, Port: uint32(i), Verdict: controlv1.Verdict_VERDICT_DENY})
		}
	}
	out := &controlv1.ListViolationsResponse{}
	out.Violations, out.NextToken, out.Total = part(all, r.Page)
	return out, f.takes(r.Filter)
}

func (f *fake) ListThreats(_ context.Context, r *controlv1.ListThreatsRequest) (*controlv1.ListThreatsResponse, error) {
	out := &controlv1.ListThreatsResponse{}
	out.Threats, out.NextToken, out.Total = part([]*controlv1.Threat{
		{Id: 1001, Name: "port_scan", Text: "20 ports in 1 s\x1b", Workload: "db", From: "external", To: "svc:default/db", FromWorkload: "203.0.113.9", ToWorkload: "db", Source: "203.0.113.9", Destination: "10.0.0.2",
			SourcePort: 40000, DestinationPort: 22, Proto: 6, Family: controlv1.Family_FAMILY_IPV4, Count: 20, First: noon.Add(-time.Minute).UnixNano(), Last: noon.Add(-3 * time.Second).UnixNano(),
			Frame: []byte{0x45, 0, 0, 0x28, 0, 1, 0, 0, 64, 6, 0, 0, 203, 0, 113, 9, 10, 0, 0, 2}},
		{Id: 2007, Name: "bad_header", Workload: "web", From: "unmanaged", To: "svc:default/web", ToWorkload: "web", Source: "fd00::9", Destination: "fd00::1", Proto: 58, Family: controlv1.Family_FAMILY_IPV6, Count: 1,
			Last: noon.Add(-time.Hour).UnixNano()},
	}, r.Page)
	return out, f.takes(r.Filter)
}

func (f *fake) GetSettings(context.Context, *controlv1.GetSettingsRequest) (*controlv1.GetSettingsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &controlv1.GetSettingsResponse{Settings: &controlv1.Settings{DefaultMode: f.settings.DefaultMode, DefaultFail: f.settings.DefaultFail, DefaultHold: f.settings.DefaultHold, DefaultHoldExpired: f.settings.DefaultHoldExpired, Revision: f.settings.Revision, Internal: []string{"10.0.0.0/8"}}}, nil
}

func (f *fake) PutSettings(_ context.Context, r *controlv1.PutSettingsRequest) (*controlv1.PutSettingsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stale > 0 { // another user was faster
		f.stale--
		f.settings.Revision++
	}
	if r.Settings.Revision != f.settings.Revision || len(r.Settings.Internal) != 1 {
		return nil, status.Error(codes.Aborted, "the settings have changed")
	}
	f.settings.DefaultFail, f.settings.Revision = r.Settings.DefaultFail, r.Settings.Revision+1
	f.settings.DefaultMode = r.Settings.DefaultMode
	f.settings.DefaultHold, f.settings.DefaultHoldExpired = r.Settings.DefaultHold, r.Settings.DefaultHoldExpired
	return &controlv1.PutSettingsResponse{Settings: r.Settings}, nil
}

func (f *fake) AcceptStore(_ context.Context, r *controlv1.AcceptStoreRequest) (*controlv1.AcceptStoreResponse, error) {
	return &controlv1.AcceptStoreResponse{Nodes: r.Nodes, Policy: 8, Enforced: true}, nil
}

func (f *fake) SetFail(_ context.Context, r *controlv1.SetFailRequest) (*controlv1.SetFailResponse, error) {
	f.modes = append(f.modes, strings.Join(r.Groups, "+")+"="+r.Fail.String())
	if r.Groups[0] == "nope" {
		return nil, status.Error(codes.NotFound, `there is no group "nope": sluice groups lists them`)
	}
	return &controlv1.SetFailResponse{Groups: []*controlv1.Group{{Name: "svc:default/" + r.Groups[0], Fail: r.Fail}}, Policy: 8, Enforced: r.Groups[0] != "slow"}, nil
}

func (f *fake) SetHold(_ context.Context, r *controlv1.SetHoldRequest) (*controlv1.SetHoldResponse, error) {
	f.modes = append(f.modes, fmt.Sprintf("%s=%v,%v,%v", strings.Join(r.Groups, "+"), r.Hold != nil, r.GetHold(), r.Expired))
	return &controlv1.SetHoldResponse{Groups: []*controlv1.Group{{Name: "svc:default/" + r.Groups[0]}}, Policy: 8, Enforced: r.Groups[0] != "slow"}, nil
}

func (f *fake) SetMode(_ context.Context, r *controlv1.SetModeRequest) (*controlv1.SetModeResponse, error) {
	f.modes = append(f.modes, strings.Join(r.Groups, "+")+"="+strings.ToLower(strings.TrimPrefix(r.Mode.String(), "MODE_")))
	if r.Groups[0] == "slow" {
		return &controlv1.SetModeResponse{Policy: 8}, nil
	}
	if r.Groups[0] == "nope" {
		return nil, status.Error(codes.NotFound, `there is no group "nope": sluice groups lists them`)
	}
	return &controlv1.SetModeResponse{Groups: []*controlv1.Group{{Name: "svc:default/" + r.Groups[0], Mode: r.Mode, Members: []string{"netns:" + r.Groups[0]}}}, Policy: 8, Enforced: true}, nil
}

func (*fake) SetBackend(_ context.Context, r *controlv1.SetBackendRequest) (*controlv1.SetBackendResponse, error) {
	w := &controlv1.Workload{Id: "netns:" + r.Workload, Name: r.Workload, Node: "n1", Choice: r.Backend, ChosenBy: "a command",
		Interfaces: []*controlv1.Interface{{Name: "eth0", Backend: r.Backend, Note: "chosen by a command"}}}
	switch r.Workload {
	case "wep":
		return nil, status.Error(codes.InvalidArgument, `no workload is called "wep": there are db, web`)
	case "slow":
		return &controlv1.SetBackendResponse{Workload: w, Policy: 9}, nil
	case "full":
		w.Interfaces[0].Backend, w.Interfaces[0].Error = "inline", "nfqueue unavailable: no free queue number; enforced by afpacket instead"
	}
	return &controlv1.SetBackendResponse{Workload: w, Policy: 9, Enforced: true}, nil
}

// happened are the events of the fake, oldest first.
func happened() []*controlv1.Event {
	second := func(n int) int64 { return noon.Add(time.Duration(n) * time.Second).UnixNano() }
	allow := &controlv1.EndVerdict{Workload: "netns:web", Verdict: controlv1.Verdict_VERDICT_ALLOW}
	deny := &controlv1.EndVerdict{Workload: "netns:db", Verdict: controlv1.Verdict_VERDICT_DENY}
	return []*controlv1.Event{
		{Stamp: second(0), Cursor: "c1", Kind: controlv1.EventKind_EVENT_KIND_OPENED, From: "web", To: "db", FromGroup: "svc:default/web", ToGroup: "svc:default/db", Client: "10.0.0.1", ClientPort: 40001, Server: "10.0.0.2",
			Proto: 6, Port: 5432, App: "postgresql", Verdict: controlv1.Verdict_VERDICT_ALLOW, Reason: controlv1.Reason_REASON_RULE, Rule: 1001, Family: controlv1.Family_FAMILY_IPV4,
			Outcome: controlv1.Outcome_OUTCOME_ESTABLISHED, Egress: true, Reporter: "web", Sessions: 1, Attrs: map[string]string{"host": "x\x1b[31m", "inner": "tls", "proxy_client": "192.0.2.9:40001"}},
		{Stamp: second(1), Cursor: "c2", Kind: controlv1.EventKind_EVENT_KIND_ENDED, From: "web", To: "fd00::2", Client: "fd00::1", Server: "fd00::2", Proto: 6, Port: 8080, App: "unknown",
			Verdict: controlv1.Verdict_VERDICT_LEARN, Reason: controlv1.Reason_REASON_DEFAULT, Family: controlv1.Family_FAMILY_IPV6, Outcome: controlv1.Outcome_OUTCOME_REFUSED, Egress: true, Reporter: "web", Sessions: 3,
			BytesOut: 180, BytesIn: 120, Began: second(1)},
		{Stamp: second(2), Cursor: "c3", Kind: controlv1.EventKind_EVENT_KIND_VIOLATION, From: "web", To: "db", Client: "10.0.0.1", ClientPort: 40002, Server: "10.0.0.2", Proto: 6, Port: 6379, App: "unknown",
			Verdict: controlv1.Verdict_VERDICT_DENY, Reason: controlv1.Reason_REASON_DEFAULT, Family: controlv1.Family_FAMILY_IPV4, Outcome: controlv1.Outcome_OUTCOME_DENIED, Reporter: "db", Sessions: 1, ClientEnd: allow, ServerEnd: deny},
		{Stamp: second(3), Cursor: "c4", Kind: controlv1.EventKind_EVENT_KIND_THREAT, From: "10.0.0.66", To: "db", Proto: 6, Port: 5432, Text: "scan", Threat: 1001, Frame: []byte{0x45}, Reporter: "db", Missed: 3},
		{Stamp: second(4), Cursor: "c5", Kind: controlv1.EventKind_EVENT_KIND_WARNING, Reporter: "n1", Text: "web: the label is odd"},
		{Stamp: second(5), Cursor: "c6", Kind: controlv1.EventKind_EVENT_KIND_FAILOPEN, Reporter: "web", Cause: "heartbeat", Frames: 12},
		{Stamp: second(6), Cursor: "c7", Kind: controlv1.EventKind_EVENT_KIND_NODE, Reporter: "n1", Text: "another agent wants this name and is refused"},
	}
}

func (f *fake) ListEvents(_ context.Context, r *controlv1.ListEventsRequest) (*controlv1.ListEventsResponse, error) {
	list := happened()
	out := &controlv1.ListEventsResponse{Total: uint64(len(list)), Lost: 9}
	if r.Newest {
		out.Events = list[max(0, len(list)-int(r.Page.Limit)):]
	} else {
		out.Events, out.NextToken, out.Total = part(list, r.Page)
	}
	return out, f.takes(r.Filter)
}

func (*fake) Why(_ context.Context, r *controlv1.WhyRequest) (*controlv1.WhyResponse, error) {
	end := &controlv1.WhyEnd{Workload: "db", End: "ingress", Mode: controlv1.Mode_MODE_PROTECT, Verdict: controlv1.Verdict_VERDICT_DENY, Reason: controlv1.Reason_REASON_DEFAULT,
		Steps: []*controlv1.WhyStep{{Rule: 1001, Text: "allow web to db, tcp/5432, postgresql", Outcome: "needs the application"}}}
	switch r.App {
	case "":
		end.Verdict, end.Reason = controlv1.Verdict_VERDICT_PENDING, controlv1.Reason_REASON_UNSPECIFIED
	case "postgresql":
		end.Verdict, end.Reason, end.Rule = controlv1.Verdict_VERDICT_ALLOW, controlv1.Reason_REASON_RULE, 1001
	}
	return &controlv1.WhyResponse{From: r.From, To: r.To, Port: "tcp/" + r.Port, App: r.App, Verdict: end.Verdict, Text: "not for clients", Ends: []*controlv1.WhyEnd{end}}, nil
}

// serve starts the fake on a socket and gives its path.
func serve(t *testing.T, f *fake) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sl") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	controlv1.RegisterControlServer(s, f)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); os.RemoveAll(dir) })
	return path
}
