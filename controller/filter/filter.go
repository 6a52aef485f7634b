// Package filter is the one implementation of the API's Filter, for connections, violations,
// threats and events alike. It resolves names by a Resolver of its caller, once, and then only
// compares. It keeps no rows and cuts no pages.
package filter

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// Identity names a workload in rows: names may be in use on several nodes and in several groups.
type Identity struct{ Node, Name, Group string }

// Set is the resolved form of one name of a filter.
type Set struct {
	All      bool // everything
	Members  map[Identity]bool
	Groups   map[string]bool
	Prefixes []netip.Prefix
}

// Resolver finds who is meant by a workload's name, id, NODE/NAME, NAMESPACE/SERVICE, a group, an
// address or a CIDR. Its error has the reason and what to check.
type Resolver interface {
	Resolve(name string) (Set, error)
}

// End is one end of a row. Node is "" where the end is no workload's, and Name its address then.
type End struct {
	Identity
	Addresses []netip.Addr
}

// Subject is what a filter looks at. Verdicts, reasons and outcomes are sets of bits.
type Subject struct {
	From, To  End
	Reporter  End // of an event or threat
	Proto     uint8
	Port      uint16
	App, Base app.ID
	Verdicts  uint32
	Reasons   uint32
	Outcomes  uint32
	Kind      controlv1.EventKind
	First     int64
	Last      int64
	Family    controlv1.Family // unspecified where it has no addresses
	Threat    uint32
	HasApp    bool // App and Base are valid
}

// Bit returns the set of one value.
func Bit[T ~uint8 | ~int32](v T) uint32 { return 1 << (uint32(v) & 31) }

// Scope is what rows a filter is for. A filter that names what such rows do not have is refused.
type Scope uint8

// Scopes.
const (
	Connections Scope = iota
	Violations
	Threats
	Events
)

var scopeNames = [...]string{"connections", "violations", "threats", "events"}

// Filter decides about subjects. The zero value and nil accept all.
type Filter struct {
	from, to, about []Set
	ports           []model.Port
	apps            model.Apps
	verdicts        uint32
	reasons         uint32
	outcomes        uint32
	kinds           uint32
	since, until    int64
	family          controlv1.Family
	threats         []uint32
}

// maxEntries bounds each list of a filter.
const maxEntries = 1000

// Compile resolves a filter.
func Compile(f *controlv1.Filter, scope Scope, r Resolver) (*Filter, error) {
	out := &Filter{since: f.GetSince(), until: f.GetUntil(), family: f.GetFamily(), threats: f.GetThreats()}
	if err := scope.check(f); err != nil {
		return nil, err
	}
	var err error
	for _, x := range []struct {
		what  string
		names []string
		sets  *[]Set
	}{{"from", f.GetFrom(), &out.from}, {"to", f.GetTo(), &out.to}, {"about", f.GetAbout(), &out.about}} {
		for _, name := range x.names {
			set, err := r.Resolve(name)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", x.what, err)
			}
			*x.sets = append(*x.sets, set)
		}
	}
	if out.ports, err = parsePorts(f.GetPorts()); err != nil {
		return nil, err
	}
	if out.apps, err = parseApps(f.GetApps()); err != nil {
		return nil, err
	}
	if out.verdicts, err = bits("verdict", f.GetVerdicts(), controlv1.Verdict_name, false); err != nil {
		return nil, err
	}
	if out.reasons, err = bits("reason", f.GetReasons(), controlv1.Reason_name, false); err != nil {
		return nil, err
	}
	if out.outcomes, err = bits("outcome", f.GetOutcomes(), controlv1.Outcome_name, true); err != nil {
		return nil, err
	}
	out.kinds, err = bits("kind of event", f.GetKinds(), controlv1.EventKind_name, false)
	return out, err
}

// check refuses what rows of the scope do not have, and lists that are too long.
func (s Scope) check(f *controlv1.Filter) error {
	refuse := func(given bool, what string) error {
		if given {
			return fmt.Errorf("%s have no %s: leave it out", scopeNames[s], what)
		}
		return nil
	}
	for _, n := range []int{len(f.GetFrom()), len(f.GetTo()), len(f.GetAbout()), len(f.GetPorts()), len(f.GetApps()), len(f.GetVerdicts()),
		len(f.GetReasons()), len(f.GetOutcomes()), len(f.GetKinds()), len(f.GetThreats())} {
		if n > maxEntries {
			return fmt.Errorf("a list of the filter has %d entries: use %d at most", n, maxEntries)
		}
	}
	if f.GetSince() != 0 && f.GetUntil() != 0 && f.GetSince() > f.GetUntil() {
		return fmt.Errorf("since is after until: nothing can match")
	}
	if _, ok := controlv1.Family_name[int32(f.GetFamily())]; !ok {
		return fmt.Errorf("no family has the number %d: use ipv4 or ipv6", f.GetFamily())
	}
	if s != Events {
		if err := refuse(len(f.GetKinds()) > 0, "kind of event"); err != nil {
			return err
		}
	}
	if s == Connections || s == Violations {
		return refuse(len(f.GetThreats()) > 0, "id of a threat")
	}
	if s == Threats {
		return refuse(len(f.GetApps())+len(f.GetVerdicts())+len(f.GetReasons())+len(f.GetOutcomes()) > 0, "application, verdict, reason or outcome")
	}
	return nil
}

// bits returns values of an enum as a set.
func bits[E interface{ ~int32 }](what string, list []E, names map[int32]string, zero bool) (out uint32, err error) {
	for _, v := range list {
		if _, ok := names[int32(v)]; !ok || v == 0 && !zero {
			return 0, fmt.Errorf("no %s has the number %d", what, v)
		}
		out |= Bit(v)
	}
	return out, nil
}

// parsePorts reads "80", "80-90", "tcp/80", "udp/53" and "icmp". "any" among them is all.
func parsePorts(list []string) ([]model.Port, error) {
	var out []model.Port
	for _, text := range list {
		text = strings.TrimSpace(text)
		if _, err := strconv.Atoi(strings.ReplaceAll(text, "-", "")); err == nil {
			p, err := model.ParsePort("tcp/" + text)
			if err != nil {
				return nil, err
			}
			p.Proto = 0 // whichever
			out = append(out, p)
			continue
		}
		p, err := model.ParsePort(text)
		if err != nil {
			return nil, err
		}
		if p == (model.Port{Hi: 65535}) {
			return nil, nil
		}
		out = append(out, p)
	}
	return out, nil
}

// parseApps also takes "undecided", which no rule may name.
func parseApps(list []string) (model.Apps, error) {
	var rest []string
	var out model.Apps
	for _, text := range list {
		switch strings.ToLower(strings.TrimSpace(text)) {
		case "any":
			return nil, nil
		case "":
			return nil, fmt.Errorf("an application of the filter is empty: name one, or any")
		case app.Undecided.Name():
			out = append(out, app.Undecided)
		case app.None.Name():
			out = append(out, app.None)
		default:
			rest = append(rest, text)
		}
	}
	apps, err := model.ParseApps(rest)
	return append(out, apps...), err
}

// Match reports whether a subject is wanted.
func (f *Filter) Match(s *Subject) bool {
	if f == nil {
		return true
	}
	switch {
	case f.since != 0 && s.Last < f.since, f.until != 0 && s.First > f.until:
		return false
	case f.family != 0 && s.Family != f.family:
		return false
	case f.verdicts != 0 && s.Verdicts&f.verdicts == 0, f.reasons != 0 && s.Reasons&f.reasons == 0, f.outcomes != 0 && s.Outcomes&f.outcomes == 0:
		return false
	case f.kinds != 0 && f.kinds&Bit(s.Kind) == 0:
		return false
	case len(f.threats) > 0 && (s.Threat == 0 || !slices.Contains(f.threats, s.Threat)):
		return false
	}
	return f.matchPort(s) && f.matchApp(s) && one(f.from, &s.From) && one(f.to, &s.To) &&
		(len(f.about) == 0 || one(f.about, &s.From) || one(f.about, &s.To) || one(f.about, &s.Reporter))
}

func (f *Filter) matchPort(s *Subject) bool {
	if len(f.ports) == 0 {
		return true
	}
	return slices.ContainsFunc(f.ports, func(p model.Port) bool {
		switch {
		case p.Proto == 0:
			return policy.HasPorts(s.Proto) && p.Lo <= s.Port && s.Port <= p.Hi
		case p.Proto == packet.ProtoICMP && s.Proto == packet.ProtoICMPv6:
			return true
		}
		return p.Proto == s.Proto && (!policy.HasPorts(p.Proto) || p.Lo <= s.Port && s.Port <= p.Hi)
	})
}

func (f *Filter) matchApp(s *Subject) bool {
	return len(f.apps) == 0 || s.HasApp && (slices.Contains(f.apps, s.App) || s.Base != app.Unknown && slices.Contains(f.apps, s.Base))
}

// one reports whether an end is in one of the sets, or there are none.
func one(sets []Set, e *End) bool {
	return len(sets) == 0 || slices.ContainsFunc(sets, func(s Set) bool { return s.contains(e) })
}

func (s *Set) contains(e *End) bool {
	if e.Name == "" {
		return false
	}
	if s.All || s.Groups[e.Group] || s.Members[e.Identity] {
		return true
	}
	for _, p := range s.Prefixes {
		if slices.ContainsFunc(e.Addresses, p.Contains) {
			return true
		}
	}
	return false
}

// All reports whether the filter accepts everything.
func (f *Filter) All() bool {
	return f == nil || len(f.from)+len(f.to)+len(f.about)+len(f.ports)+len(f.apps)+len(f.threats) == 0 &&
		f.verdicts|f.reasons|f.outcomes|f.kinds == 0 && f.since == 0 && f.until == 0 && f.family == 0
}
