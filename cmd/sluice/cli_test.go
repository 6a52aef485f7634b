package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

var update = flag.Bool("update", false, "write the golden files again")

// noon is the time in golden outputs.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// fake is a daemon with one answer to everything.
type fake struct {
	controlv1.UnimplementedControlServer
	modes []string
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
		Plugins: []*controlv1.Plugin{{Name: "standard", Path: "/proc/self/exe", User: "nobody", Pid: 4711, State: "running", Restarts: 1, Items: 99, Error: "it does not answer\x1b", Protocols: 3, Apps: []string{"http", "tls", "dns"}, Since: noon.UnixNano()},
			{Name: "own", Path: "/etc/sluice/plugins/own", User: "nobody", State: "failed", Restarts: 10, Panics: 3, Away: true,
				Error: "it ended: exit status 2: panic: no", Warning: "it does not run, and is tried again every 1m0s"}},
		Uplink: &controlv1.Uplink{Controller: "10.0.0.11:9474", Answers: true, LastReport: noon.UnixNano(), Backlog: 5, Sent: 1000, Dropped: map[string]uint64{"uplink_full": 2}},
		Store:  &controlv1.StoreState{Name: "consul 10.0.0.1:8500", Error: "no server leads"}}
	return &controlv1.StatusResponse{Version: "v1", Started: noon.Add(-time.Hour).UnixNano(), Policy: 7, Workloads: 2, Groups: 6, Rules: 2, Connections: 2, Sessions: 41,
		Violations: 3, Store: "consul 10.0.0.1:8500", Dropped: map[string]uint64{"uplink_full": 2}, Role: roleController,
		StoreState: &controlv1.StoreState{Name: "consul 10.0.0.1:8500", Reachable: true, Revision: 4711, Leader: "10.0.0.1:8300", Checked: noon.UnixNano()},
		Controllers: []*controlv1.ControllerState{{Name: "c1", Address: "10.0.0.11:9474", Version: "v1", State: stateLeading, LastSeen: noon.UnixNano()},
			{Name: "c2", Address: "10.0.0.12:9474", Version: "v1", State: stateAway, LastSeen: noon.Add(-time.Minute).UnixNano()}},
		Nodes: []*controlv1.NodeStatus{{Node: "n1", Policy: 6, Wanted: 7, LastSeen: noon.Add(-2 * time.Second).UnixNano(), Version: "v1", Counters: map[string]uint64{"engine.frames": 12},
			WorkloadErrors: map[string]string{"netns:db": "eth0 is gone; its connections are not seen"}, State: state,
			Warnings: []string{"workloads file w.yaml: it is empty: what it said before counts"}}}}, nil
}

func (*fake) ListWorkloads(context.Context, *controlv1.ListWorkloadsRequest) (*controlv1.ListWorkloadsResponse, error) {
	return &controlv1.ListWorkloadsResponse{Workloads: []*controlv1.Workload{
		{Id: "netns:web", Name: "web", Group: "svc:default/web", Mode: "protect", Namespace: "default", Service: "web", Node: "n1", Netns: "/run/netns/web", Source: "netns",
			Interfaces: []*controlv1.Interface{{Name: "eth0", Mac: "02:00:00:00:00:01", Kind: "veth", Addresses: []string{"10.0.0.1/24", "fd00::1/64"}, Backend: "inline",
				Note: "chosen by a command; hooked on the host's end of its veth, veth1"},
				{Name: "tun0", Kind: "tuntap", Addresses: []string{"10.9.0.1/24"}, Backend: "tap", Note: "copies, for want of a way to enforce", Error: "no MAC address"}}},
		{Id: "netns:db", Name: "db", Group: "svc:default/db", Mode: "discover", Namespace: "default", Node: "n1", Note: "the label sluice.net/backend says \"ebpf\" and is not followed", Interfaces: []*controlv1.Interface{{Name: "eth0", Addresses: []string{"10.0.0.2/24"}}}},
		{Id: "host:n1", Name: "n1", Group: "svc:default/host", Mode: "protect", Namespace: "default", Service: "host", Node: "n1", HostNet: true, Source: "host", Note: "watched, never refused: host network"},
	}}, nil
}

func (*fake) ListGroups(context.Context, *controlv1.ListGroupsRequest) (*controlv1.ListGroupsResponse, error) {
	return &controlv1.ListGroupsResponse{Groups: []*controlv1.Group{{Name: "svc:default/web", Kind: "service", Mode: "protect", Members: []string{"netns:web"}, Rules: 2},
		{Name: "svc:default/host", Kind: "service", Mode: "protect", Members: []string{"host:n1"}, Note: "watched, never refused: host network"}, {Name: "external", Kind: "reserved"}}}, nil
}

var fakeRule = &controlv1.Rule{Id: 1001, From: "svc:default/web", To: "svc:default/db", Ports: []string{"tcp/5432"}, Apps: []string{"postgresql"}, Action: "allow", Origin: "learned", Created: noon.UnixNano()}

func (*fake) ListRules(context.Context, *controlv1.ListRulesRequest) (*controlv1.ListRulesResponse, error) {
	return &controlv1.ListRulesResponse{Rules: []*controlv1.Rule{{Id: 3, From: "any", To: "svc:default/db", Action: "deny", Origin: "user", Comment: "nobody\x1b else", Disabled: true}, fakeRule}}, nil
}

func (*fake) AddRule(_ context.Context, r *controlv1.AddRuleRequest) (*controlv1.AddRuleResponse, error) {
	r.Rule.Id = 4
	return &controlv1.AddRuleResponse{Rule: r.Rule}, nil
}

func (*fake) DeleteRule(_ context.Context, r *controlv1.DeleteRuleRequest) (*controlv1.DeleteRuleResponse, error) {
	if r.Id != 3 {
		return nil, status.Errorf(codes.NotFound, "there is no rule %d", r.Id)
	}
	return &controlv1.DeleteRuleResponse{}, nil
}

func (*fake) ListConnections(context.Context, *controlv1.ListConnectionsRequest) (*controlv1.ListConnectionsResponse, error) {
	return &controlv1.ListConnectionsResponse{Edges: []*controlv1.Edge{
		{From: "svc:default/web", To: "svc:default/db", FromWorkload: "web", ToWorkload: "db", Proto: 6, Port: 5432, App: "postgresql", Base: "postgresql", Verdict: "allow", Reason: "rule",
			Rule: 1001, Sessions: 40, BytesOut: 1000, BytesIn: 200_000, First: noon.Add(-time.Hour).UnixNano(), Last: noon.Add(-3 * time.Minute).UnixNano(), Family: "ipv4", Answered: true},
		{From: "external", To: "svc:default/web", FromWorkload: "203.0.113.9", ToWorkload: "web", Proto: 1, App: "unknown", Verdict: "deny", Reason: "default",
			Sessions: 1, BytesOut: 84, Last: noon.Add(-time.Second).UnixNano(), Family: "ipv6"},
	}}, nil
}

func (*fake) ListViolations(context.Context, *controlv1.ListViolationsRequest) (*controlv1.ListViolationsResponse, error) {
	return &controlv1.ListViolationsResponse{Violations: []*controlv1.Violation{{Stamp: noon.Add(-5 * time.Second).UnixNano(), From: "unmanaged", To: "svc:default/db", FromWorkload: "10.0.0.66",
		ToWorkload: "db", Proto: 6, Port: 5432, App: "unknown", Verdict: "deny", Reason: "rule", Rule: 3, Count: 2, Family: "ipv4", Reporter: "netns:db", Client: "10.0.0.66", Server: "10.0.0.2"}}}, nil
}

func (f *fake) SetMode(_ context.Context, r *controlv1.SetModeRequest) (*controlv1.SetModeResponse, error) {
	f.modes = append(f.modes, strings.Join(r.Groups, "+")+"="+r.Mode)
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
		w.Interfaces[0].Backend, w.Interfaces[0].Error = "inline", "nfqueue cannot be had: no free queue number; enforced by afpacket instead"
	}
	return &controlv1.SetBackendResponse{Workload: w, Policy: 9, Enforced: true}, nil
}

func (*fake) Observe(r *controlv1.ObserveRequest, s grpc.ServerStreamingServer[controlv1.Event]) error {
	for _, e := range []*controlv1.Event{
		{Stamp: noon.UnixNano(), Kind: "connection", From: "web", To: "db", Proto: 6, Port: 5432, App: "postgresql", Verdict: "allow", Reason: "rule", Rule: 1001, Family: "ipv4", Attrs: map[string]string{"host": "x\x1b[31m"}},
		{Stamp: noon.UnixNano(), Kind: "threat", From: "10.0.0.66", To: "db", Proto: 6, Port: 5432, Text: "scan", Missed: 3},
		{Stamp: noon.UnixNano(), Kind: "warning", From: "n1", Text: "web: the label is odd"},
	} {
		if err := s.Send(e); err != nil {
			return err
		}
	}
	return nil
}

func (*fake) Why(_ context.Context, r *controlv1.WhyRequest) (*controlv1.WhyResponse, error) {
	return &controlv1.WhyResponse{From: r.From, To: r.To, Port: r.Port, App: r.App, Verdict: "deny", Text: "refused by rule 3", Ends: []*controlv1.WhyEnd{
		{Workload: "db", End: "ingress", Mode: "protect", Verdict: "deny", Reason: "rule", Rule: 3, Steps: []*controlv1.WhyStep{{Rule: 3, Text: "deny any to db", Outcome: "matches"}}}}}, nil
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

// exec runs a command line and gives what it wrote and its exit code.
func exec(t *testing.T, line ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	now := func() time.Time { return noon }
	code = run(t.Context(), line, &screen{&o, false, now}, &screen{&e, false, now})
	return o.String(), e.String(), code
}

func TestGolden(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	defer func() { time.Local = local }()
	sock := serve(t, &fake{})
	tests := []struct{ name, line string }{
		{"status", "status"}, {"workloads", "workloads"}, {"groups", "groups"}, {"rules", "rules"}, {"connections", "connections"},
		{"violations", "violations"}, {"observe", "observe"}, {"observe_f", "observe -f"}, {"why", "why web db 5432 --app postgresql"},
		{"rules_add", "rules add --from web --to db --ports tcp/80,udp/53 --apps http --action deny"}, {"rules_delete", "rules delete 3"},
		{"plugins", "plugins list"}, {"backend", "workloads backend web nfqueue"},
	}
	for _, tt := range tests {
		for _, format := range []string{"table", "json"} {
			t.Run(tt.name+"_"+format, func(t *testing.T) {
				got, errs, code := exec(t, append(strings.Fields(tt.line), "--socket", sock, "-o", format)...)
				if code != 0 || errs != "" {
					t.Fatalf("exit code %d, errors %q", code, errs)
				}
				if strings.Contains(got, "\x1b") {
					t.Errorf("control characters reach the terminal: %q", got)
				}
				file := filepath.Join("testdata", tt.name+"."+format)
				if *update {
					if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil || got != string(want) {
					t.Errorf("output\n%s\nwant (%v)\n%s", got, err, want)
				}
				dec := json.NewDecoder(strings.NewReader(got))
				for format == "json" && dec.More() {
					var v any
					if err := dec.Decode(&v); err != nil {
						t.Fatalf("not JSON: %v", err)
					}
				}
			})
		}
	}
}

func TestModeSet(t *testing.T) {
	f := &fake{}
	sock := serve(t, f)
	tests := []struct {
		name, line, out, errs string
		code                  int
	}{
		{"one", "mode set web protect", "svc:default/web: protect\nenforced after ", "", 0},
		{"several", "mode set web api monitor", "svc:default/web: monitor\nenforced after ", "", 0},
		{"a member that is not attached", "mode set db protect", "svc:default/db: protect\nenforced after ", "netns:db: eth0 is gone", 1},
		{"not enforced in time", "mode set slow protect", "", "not every agent enforced it within 10s", 1},
		{"no such group", "mode set nope protect", "", "error: there is no group \"nope\"", 1},
		{"no such mode", "mode set web block", "", "block", 1},
		{"no mode", "mode set web", "", "name at least one group", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := exec(t, append(strings.Fields(tt.line), "--socket", sock)...)
			if code != tt.code || !strings.HasPrefix(out, tt.out) || !strings.Contains(errs, tt.errs) {
				t.Errorf("code %d, output %q, errors %q; want %d, %q, %q", code, out, errs, tt.code, tt.out, tt.errs)
			}
		})
	}
	if got := strings.Join(f.modes[:2], " "); got != "web=protect web+api=monitor" {
		t.Errorf("modes set %q", got)
	}
}

func TestBackend(t *testing.T) {
	sock := serve(t, &fake{})
	tests := []struct {
		name, line, out, errs string
		code                  int
	}{
		{"not to be had", "workloads backend full nfqueue", "full: nfqueue\nINTERFACE  BACKEND  WHY\neth0       inline   nfqueue cannot be had: no free queue number", "", 1},
		{"agent away", "workloads backend slow nfqueue", "slow: nfqueue\n", "the agent did not follow it within 10s", 1},
		{"not waited for", "workloads backend slow nfqueue --wait 0", "slow: nfqueue\n", "", 0},
		{"no such workload", "workloads backend wep nfqueue", "", `error: no workload is called "wep": there are db, web`, 1},
		{"no such backend", "workloads backend web ebpf", "", `there is no backend "ebpf": use nfqueue, afpacket or auto`, 1},
		{"no backend", "workloads backend web", "", "name a workload, then nfqueue, afpacket or auto", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := exec(t, append(strings.Fields(tt.line), "--socket", sock)...)
			if code != tt.code || !strings.HasPrefix(out, tt.out) || !strings.Contains(errs, tt.errs) {
				t.Errorf("code %d, output %q, errors %q; want %d, %q, %q", code, out, errs, tt.code, tt.out, tt.errs)
			}
		})
	}
}

func TestCommandErrors(t *testing.T) {
	sock := serve(t, &fake{})
	none := filepath.Join(t.TempDir(), "none")
	tests := []struct{ name, line, want string }{
		{"no daemon", "status --socket " + none, "no sluice is listening on " + none + ": start one with `sluice standalone`"},
		{"unknown command", "statsu", "there is no command \"statsu\": did you mean `sluice status`?"},
		{"unknown command of plugins", "plugins lst", "there is no command \"plugins lst\": use `sluice plugins list`"},
		{"plugin that is not there", "plugins check " + none, none + ": no such file"},
		{"unknown flag", "status --nope", "see `sluice status --help`"},
		{"unknown output", "status -o yaml", `there is no output "yaml"`},
		{"missing arguments", "why web", "TO and PORT is missing"},
		{"too many arguments", "status now", `"now" is one argument too many`},
		{"rule that is not there", "rules delete 9 --socket " + sock, "error: there is no rule 9"},
		{"rule that is no number", "rules delete x", `"x" is not the id of a rule`},
		{"rule without ends", "rules add", `required flag(s) "from", "to" not set`},
		{"unknown order", "connections --sort colour", `cannot sort by "colour"`},
		{"unknown verdict", "observe --verdict maybe", `there is no verdict "maybe"`},
		{"standalone: mode", "standalone --mode off", "--mode: "},
		{"standalone: parsers", "standalone --parsers remote", "--parsers: "},
		{"standalone: log level", "standalone --log-level loud", "--log-level: "},
		{"standalone: log format", "standalone --log-format xml", "--log-format: "},
		{"standalone: long socket", "standalone --socket /" + strings.Repeat("x", 120), "Linux takes 107 at most"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := exec(t, strings.Fields(tt.line)...)
			if code != 1 || out != "" || !strings.Contains(errs, tt.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("code %d, output %q, errors %q; want 1 and one line with %q", code, out, errs, tt.want)
			}
		})
	}
}

func TestHelpTeaches(t *testing.T) {
	var check func(path []string)
	root := newRoot(&screen{Writer: &bytes.Buffer{}}, &screen{Writer: &bytes.Buffer{}})
	check = func(path []string) {
		out, _, code := exec(t, append(path, "--help")...)
		cmd, _, err := root.Find(path)
		if err != nil || code != 0 || cmd.Short == "" {
			t.Fatalf("%v: code %d, %v", path, code, err)
		}
		if len(cmd.Commands()) == 0 && !strings.Contains(out, "Examples:") {
			t.Errorf("%v: no examples in its help", path)
		}
		for _, sub := range cmd.Commands() {
			if !sub.Hidden && sub.Name() != "help" && sub.Name() != "completion" {
				check(append(append([]string{}, path...), sub.Name()))
			}
		}
	}
	check(nil)
}

func TestHumanBytes(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 150 << 10: "150 KiB", 3 << 30: "3.0 GiB", 1 << 63: "8.0 EiB"} {
		if got := humanBytes(n); got != want {
			t.Errorf("humanBytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestDoctor(t *testing.T) {
	out, _, code := exec(t, "doctor", "-o", "json")
	var v struct {
		OK     bool    `json:"ok"`
		Checks []check `json:"checks"`
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err)
	}
	if (code == 0) != v.OK || len(v.Checks) < 8 {
		t.Errorf("exit code %d, ok %t, %d checks", code, v.OK, len(v.Checks))
	}
	for _, k := range v.Checks {
		if !k.OK && (k.Cost == "" || k.Fix == "") {
			t.Errorf("%s is missing without a cost or a way out", k.Name)
		}
	}
	for _, name := range []string{"netfilter queues", "connection tracking", "socket tracepoint", "Docker"} {
		if os.Geteuid() == 0 && !slices.ContainsFunc(v.Checks, func(k check) bool { return k.Name == name && !k.Essential }) {
			t.Errorf("nothing is said about %s", name)
		}
	}
}
