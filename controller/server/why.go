package server

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/vocab"
)

// question is a Why request with its names resolved.
type question struct {
	from, to end
	proto    uint8
	port     uint16
	apps     []app.ID // that some rule names, where none was asked for
	app      app.ID   // app.Undecided where none was asked for
	judges   []judge
}

// judge is one managed end with the policy that its agent has or is about to get.
type judge struct {
	dir      packet.Direction
	member   *member
	workload *policy.Workload
}

// done is what becomes of a decision: nothing is refused in the host's network.
func (j *judge) done(d policy.Decision) policy.Decision {
	if j.member.workload.HostNet && d.Verdict == flow.Deny {
		d.Verdict = flow.Violate
	}
	return d
}

// Why returns what becomes of a connection and which rules decide it.
func (c *control) Why(ctx context.Context, r *controlv1.WhyRequest) (*controlv1.WhyResponse, error) {
	q, err := c.question(ctx, r)
	if err != nil {
		if _, ok := status.FromError(err); ok {
			return nil, err
		}
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	out := &controlv1.WhyResponse{From: q.from.name(), To: q.to.name(), Port: portText(q.proto, q.port), App: "any"}
	if q.app != app.Undecided {
		out.App = q.app.Name()
	}
	decisions := make([]policy.Decision, len(q.judges))
	for i, j := range q.judges {
		steps, d := j.workload.Explain(q.query(j, q.app))
		d = j.done(d)
		decisions[i] = d
		e := &controlv1.WhyEnd{
			Workload: j.member.workload.Name, End: j.dir.String(), Mode: modeEnum(j.workload.Mode()),
			Verdict: vocab.Verdict(d.Verdict), Reason: vocab.Reason(d.Reason), Rule: d.Rule,
		}
		for _, s := range steps {
			e.Steps = append(e.Steps, &controlv1.WhyStep{Rule: s.Rule, Text: s.Text, Outcome: s.Outcome})
		}
		out.Ends = append(out.Ends, e)
	}
	verdict := together(decisions)
	out.Verdict, out.Text = vocab.Verdict(verdict), q.sentence(decisions)
	return out, nil
}

// question resolves a request.
func (c *control) question(ctx context.Context, r *controlv1.WhyRequest) (*question, error) {
	s := c.s
	q := &question{app: app.Undecided}
	var err error
	if q.proto, q.port, err = parsePort(r.Port); err != nil {
		return nil, err
	}
	if r.App != "" && r.App != "any" {
		apps, err := model.ParseApps([]string{r.App})
		if err != nil || len(apps) != 1 {
			return nil, cmp.Or(err, fmt.Errorf("application %q: name one", r.App))
		}
		q.app = apps[0]
	}
	if _, err := s.apply(ctx); err != nil {
		return nil, notStored(err)
	}
	s.mu.Lock()
	q.from, q.to, err = s.pair(r.From, r.To)
	q.apps = s.appsOfRules()
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if q.proto == packet.ProtoICMP && q.from.addr.Is6() {
		q.proto = packet.ProtoICMPv6
	}
	for _, x := range []struct {
		dir packet.Direction
		end *end
	}{{packet.Egress, &q.from}, {packet.Ingress, &q.to}} {
		if x.end.member == nil {
			continue
		}
		w, err := c.workload(x.end.member)
		if err != nil {
			return nil, err
		}
		q.judges = append(q.judges, judge{x.dir, x.end.member, w})
	}
	if len(q.judges) == 0 {
		return nil, fmt.Errorf("neither %s nor %s is a workload that sluice manages, so no policy decides: `sluice workloads` lists them", r.From, r.To)
	}
	return q, nil
}

// workload is a workload's compiled policy.
func (c *control) workload(m *member) (*policy.Workload, error) {
	s := c.s
	s.mu.Lock()
	t := s.tables[m.node]
	s.mu.Unlock()
	if t == nil {
		return nil, status.Errorf(codes.Unavailable, "node %s has no policy yet: try again in a moment", m.node)
	}
	t.once.Do(func() { t.table, t.err = policy.Compile(t.spec) })
	if t.err != nil {
		return nil, status.Errorf(codes.Internal, "policy of node %s: %v", m.node, t.err)
	}
	w := t.table.Workload(m.workload.Id)
	if w == nil {
		return nil, status.Errorf(codes.Unavailable, "workload %s came or went just now: try again in a moment", m.workload.Name)
	}
	return w, nil
}

// parsePort reads "80", "tcp/80", "udp/53" or "icmp".
func parsePort(text string) (uint8, uint16, error) {
	text = strings.TrimSpace(text)
	if _, err := strconv.ParseUint(text, 10, 16); err == nil {
		text = "tcp/" + text
	}
	p, err := model.ParsePort(text)
	if err != nil {
		return 0, 0, err
	}
	if p.Proto == 0 || policy.HasPorts(p.Proto) && p.Lo != p.Hi {
		return 0, 0, fmt.Errorf("port %q is not one port: write 80, tcp/80, udp/53 or icmp", text)
	}
	if !policy.HasPorts(p.Proto) {
		return p.Proto, 0, nil
	}
	return p.Proto, p.Lo, nil
}

func portText(proto uint8, port uint16) string {
	if !policy.HasPorts(proto) {
		return policy.ProtoName(proto)
	}
	return policy.PortSpec{Proto: proto, Lo: port, Hi: port}.String()
}

// pair finds both ends, with addresses of one family. The lock is held.
func (s *book) pair(from, to string) (f, t end, err error) {
	froms, err := s.candidates(from)
	if err != nil {
		return f, t, fmt.Errorf("from: %w", err)
	}
	tos, err := s.candidates(to)
	if err != nil {
		return f, t, fmt.Errorf("to: %w", err)
	}
	for _, f := range froms {
		for _, t := range tos {
			if f.addr.Is4() == t.addr.Is4() && (f.addr != t.addr || len(froms)+len(tos) == 2) {
				return f, t, nil
			}
		}
	}
	return f, t, fmt.Errorf("%s and %s have no addresses of one family", from, to)
}

// Addresses that represent the whole outside, from the blocks that are set aside for
// documentation (RFC 5737, RFC 3849).
var outside = []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")}

// candidates are the ends that a person may mean by a workload, a group or an address:
// IPv4 first. The lock is held.
func (s *book) candidates(name string) ([]end, error) {
	f, err := s.find(name)
	switch {
	case err != nil:
		return nil, err
	case f.prefix.IsValid() && !f.prefix.IsSingleIP():
		return nil, fmt.Errorf("%s is a range of addresses: ask about one address", f.prefix)
	case f.prefix.IsValid():
		return []end{s.dir.peer("", f.prefix.Addr())}, nil
	case len(f.members) > 1:
		return nil, fmt.Errorf("%d workloads are called %q: write which one: %s", len(f.members), name, which(f.members))
	case len(f.members) == 1:
		return s.dir.endsOf(f.members[0])
	}
	group := f.group
	for _, m := range s.dir.all() {
		if g := s.groups[group]; m.group == group || g != nil && g.Selector.Matches(&m.policy) {
			return s.dir.endsOf(m)
		}
	}
	var out []end
	for _, a := range s.examples(group) {
		out = append(out, s.dir.peer("", a))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("group %s has no workload or address now, so nothing can be asked about it", group)
	}
	return out, nil
}

// examples are addresses that represent a group without workloads. The lock is held.
func (s *book) examples(group string) []netip.Addr {
	var out []netip.Addr
	switch group {
	case model.Any, model.External:
		out = outside
	case model.Nodes:
		for _, name := range s.dir.names() {
			out = append(out, s.dir.nodes[name].own...)
		}
	case model.Multicast, model.Metadata:
		for _, p := range model.FixedPrefixes(group) {
			out = append(out, p.Masked().Addr())
		}
	case model.Unmanaged:
		for _, p := range s.dir.subnets {
			a := p.Addr().Next()
			for p.Contains(a) && s.dir.peer("", a).group != model.Unmanaged {
				a = a.Next()
			}
			if p.Contains(a) {
				out = append(out, a)
			}
		}
	default:
		for _, p := range s.groups[group].CIDRs {
			out = append(out, p.Masked().Addr())
		}
	}
	out = slices.Clone(out)
	slices.SortStableFunc(out, func(a, b netip.Addr) int { return cmp.Compare(a.BitLen(), b.BitLen()) })
	return out
}

// endsOf is a workload with each of its addresses, IPv4 first. Those of one in the host's network are
// the node's.
func (d *directory) endsOf(m *member) ([]end, error) {
	var out []end
	if m.workload.HostNet {
		for _, a := range d.nodes[m.node].own {
			out = append(out, end{member: m, addr: a, group: m.group})
		}
	}
	for _, p := range m.policy.Addresses {
		if !p.Addr().IsLinkLocalUnicast() {
			out = append(out, end{member: m, addr: p.Addr(), group: m.group})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("workload %s has no address yet", m.workload.Name)
	}
	slices.SortStableFunc(out, func(a, b end) int { return cmp.Compare(a.addr.BitLen(), b.addr.BitLen()) })
	return out, nil
}

// appsOfRules is every application that a rule names. The lock is held.
func (s *book) appsOfRules() []app.ID {
	var out []app.ID
	for _, r := range s.rules.All() {
		out = append(out, r.Apps...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// query returns the query of one end for an application.
func (q *question) query(j judge, id app.ID) *policy.Query {
	local, peer := &q.from, &q.to
	if j.dir == packet.Ingress {
		local, peer = peer, local
	}
	return &policy.Query{
		Dir: j.dir, Peer: packet.AddrFrom(peer.addr), Local: packet.AddrFrom(local.addr), IPv6: peer.addr.Is6(),
		Proto: q.proto, Port: q.port, App: id, Base: id.Base(),
	}
}

// severity orders verdicts: what one end refuses does not pass.
var severity = map[flow.Verdict]int{
	flow.Open: 1, flow.Allow: 2, flow.Learn: 3, flow.Violate: 4, flow.Pending: 5, flow.Deny: 6,
}

// together is the verdict of both ends.
func together(ds []policy.Decision) flow.Verdict {
	return slices.MaxFunc(ds, func(a, b policy.Decision) int { return cmp.Compare(severity[a.Verdict], severity[b.Verdict]) }).Verdict
}
