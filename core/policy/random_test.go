package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// naive evaluates the policy directly from the Spec.
func naive(s *policy.Spec, w *policy.WorkloadSpec, q *policy.Query) policy.Decision {
	peer := q.Peer.Netip()
	switch {
	case w.Quarantined:
		return policy.Decision{Verdict: flow.Deny, Reason: flow.ByQuarantine}
	case peer.IsLoopback(), q.Peer == q.Local, slices.ContainsFunc(s.Exempt, func(p netip.Prefix) bool { return p.Contains(peer) }):
		return policy.Decision{Verdict: flow.Open}
	}
	from, to := w.Identity, longest(s, peer)
	if q.Dir == packet.Ingress {
		from, to = to, from
	}
	lost, waits := q.Lost && q.App == app.Unknown, 0 // waits: 1 where the first that might match names applications, 2 where it does not
	for _, r := range s.Rules {
		if member(s, from, r.From) && member(s, to, r.To) && onPort(&r, q) {
			if len(r.Apps) > 0 {
				waits = max(waits, 1)
			} else if waits == 0 {
				waits = 2
			}
			if v := naiveRule(&r, w, q); v != flow.NoVerdict {
				why := flow.ByRule
				if lost && waits == 1 {
					why = flow.ByUnidentified
				}
				return policy.Decision{Verdict: v, Reason: why, Rule: r.ID}
			}
		}
	}
	d := policy.Decision{Reason: flow.ByDefault}
	d.Verdict = map[policy.Mode]flow.Verdict{policy.Discover: flow.Learn, policy.Monitor: flow.Violate, policy.Protect: flow.Deny}[w.Mode]
	if lost && (waits == 1 || w.Mode == policy.Discover) {
		d.Reason = flow.ByUnidentified
	}
	return d
}

func naiveRule(r *policy.RuleSpec, w *policy.WorkloadSpec, q *policy.Query) flow.Verdict {
	if len(r.Apps) > 0 {
		if q.App == app.Undecided {
			return flow.Pending
		}
		named := slices.Contains(r.Apps, q.App) || q.App != app.Unknown && q.Base != app.Unknown && slices.Contains(r.Apps, q.Base)
		lenient := q.Midstream && q.App == app.Unknown && !r.Deny
		if q.Lost && q.App == app.Unknown {
			named = w.FailClosed == r.Deny
		}
		if !named && !lenient {
			return flow.NoVerdict
		}
	}
	switch {
	case !r.Deny:
		return flow.Allow
	case w.Mode == policy.Protect:
		return flow.Deny
	}
	return flow.Violate
}

func longest(s *policy.Spec, a netip.Addr) (id uint32) {
	best := -1
	for _, x := range s.Addresses {
		if x.Prefix.Contains(a) && x.Prefix.Bits() >= best {
			best, id = x.Prefix.Bits(), x.Identity
		}
	}
	return id
}

func member(s *policy.Spec, id, group uint32) bool {
	return s.Groups[group].Any || slices.Contains(s.Identities[id].Groups, group)
}

func onPort(r *policy.RuleSpec, q *policy.Query) bool {
	return len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p policy.PortSpec) bool {
		return (p.Proto == 0 || p.Proto == q.Proto) && q.Port >= p.Lo && q.Port <= p.Hi
	})
}

var (
	someApps   = []app.ID{app.Unknown, app.HTTP, app.Redis, app.TLS, app.HTTP2, app.GRPC}
	someProtos = []uint8{1, 6, 6, 6, 17, 58, 132, 255}
)

// randomSpec returns a small policy in which everything overlaps.
func randomSpec(r *rand.Rand) *policy.Spec {
	s := &policy.Spec{Version: r.Uint64()}
	for i := range 2 + r.IntN(6) {
		s.Groups = append(s.Groups, policy.GroupSpec{Name: fmt.Sprint("g", i), Any: r.IntN(5) == 0})
	}
	for range 1 + r.IntN(6) {
		var id policy.IdentitySpec
		for g := range s.Groups {
			if r.IntN(3) == 0 {
				id.Groups = append(id.Groups, uint32(g))
			}
		}
		s.Identities = append(s.Identities, id)
	}
	for range r.IntN(12) {
		p := netip.PrefixFrom(randomAddr(r, r.IntN(2) == 0), 1)
		p = netip.PrefixFrom(p.Addr(), p.Addr().BitLen()-r.IntN(5)).Masked()
		if !slices.ContainsFunc(s.Addresses, func(a policy.AddressSpec) bool { return a.Prefix == p }) {
			s.Addresses = append(s.Addresses, policy.AddressSpec{Prefix: p, Identity: uint32(r.IntN(len(s.Identities)))})
		}
	}
	for i := range 1 + r.IntN(3) {
		s.Workloads = append(s.Workloads, policy.WorkloadSpec{ID: fmt.Sprint("w", i), Identity: uint32(r.IntN(len(s.Identities))),
			Mode: policy.Mode(r.IntN(3)), Quarantined: r.IntN(20) == 0, FailClosed: r.IntN(2) == 0})
	}
	for i := range r.IntN(1 << r.IntN(9)) {
		s.Rules = append(s.Rules, randomRule(r, uint32(i+1), len(s.Groups)))
	}
	if r.IntN(4) == 0 {
		s.Exempt = append(s.Exempt, netip.PrefixFrom(randomAddr(r, false), 30).Masked())
	}
	return s
}

func randomRule(r *rand.Rand, id uint32, groups int) policy.RuleSpec {
	rule := policy.RuleSpec{ID: id, From: uint32(r.IntN(groups)), To: uint32(r.IntN(groups)), Deny: r.IntN(3) == 0}
	for range r.IntN(4) {
		p := policy.PortSpec{Proto: someProtos[r.IntN(len(someProtos))]}
		switch r.IntN(5) {
		case 0:
			p.Hi = 65535
		case 1, 2:
			p.Lo = randomPort(r)
			p.Hi = p.Lo
		default:
			p.Lo, p.Hi = randomPort(r), randomPort(r)
			p.Lo, p.Hi = min(p.Lo, p.Hi), max(p.Lo, p.Hi)
		}
		if r.IntN(8) == 0 {
			p.Proto = 0
		}
		rule.Ports = append(rule.Ports, p)
	}
	if r.IntN(5) != 0 { // mostly with applications, so that lists grow long
		for range 1 + r.IntN(3) {
			rule.Apps = append(rule.Apps, someApps[r.IntN(len(someApps))])
		}
	}
	return rule
}

func randomPort(r *rand.Rand) uint16 {
	return []uint16{0, 1, 67, 79, 80, 81, 82, 90, 547, 65534, 65535}[r.IntN(11)]
}

func randomAddr(r *rand.Rand, v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 15: byte(r.IntN(20))})
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(20))})
}

func randomQuery(r *rand.Rand) policy.Query {
	v6 := r.IntN(2) == 0
	q := policy.Query{Dir: packet.Egress, IPv6: v6, Proto: someProtos[r.IntN(len(someProtos))], Port: randomPort(r),
		Peer: packet.AddrFrom(randomAddr(r, v6)), Local: packet.AddrFrom(randomAddr(r, v6)), Midstream: r.IntN(3) == 0, Lost: r.IntN(3) == 0}
	if r.IntN(2) == 0 {
		q.Dir = packet.Ingress
	}
	q.App = append(slices.Clone(someApps), app.Undecided)[r.IntN(len(someApps)+1)]
	if q.Base = q.App; q.App == app.GRPC {
		q.Base = app.HTTP2
	}
	return q
}

// TestDecideAgrees compares the compiled form, Explain and a direct evaluation of the rules.
func TestDecideAgrees(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[flow.Verdict]int{}
	for n := range 1500 {
		s := randomSpec(r)
		table, err := policy.Compile(s)
		if err != nil {
			t.Fatalf("spec %d: %v", n, err)
		}
		for range 100 {
			ws := &s.Workloads[r.IntN(len(s.Workloads))]
			q := randomQuery(r)
			w := table.Workload(ws.ID)
			got, want := w.Decide(&q), naive(s, ws, &q)
			if got != want {
				t.Fatalf("spec %d, %+v of %+v: got %+v, want %+v\nrules %+v", n, q, ws, got, want, s.Rules)
			}
			if steps, d := w.Explain(&q); d != want || len(steps) == 0 || steps[len(steps)-1].Rule != want.Rule {
				t.Fatalf("spec %d, %+v of %+v: Explain says %+v, want %+v", n, q, ws, d, want)
			}
			seen[got.Verdict]++
		}
	}
	for _, v := range []flow.Verdict{flow.Open, flow.Learn, flow.Allow, flow.Violate, flow.Deny, flow.Pending} {
		if seen[v] < 500 {
			t.Errorf("verdict %s occurred only %d times", v, seen[v])
		}
	}
}
