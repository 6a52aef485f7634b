package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/model"
)

// keyAsides is where learned rules are kept that are set aside.
const keyAsides = "aside/"

func asideKey(id uint32) string { return fmt.Sprintf("%s%010d", keyAsides, id) }

// ListSetAside returns learned rules that are not in force, by id.
func (c *control) ListSetAside(_ context.Context, r *controlv1.ListSetAsideRequest) (*controlv1.ListSetAsideResponse, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.learner.Asides()
	part, next, err := cutAfter(all, r.Page, func(a *model.Aside) uint32 { return a.Rule.ID })
	if err != nil {
		return nil, err
	}
	out := &controlv1.ListSetAsideResponse{Total: uint64(len(all)), NextToken: next, Lost: s.learner.AsidesLost()}
	for i := range part {
		out.Rules = append(out.Rules, asideMessage(&part[i]))
	}
	return out, nil
}

func asideMessage(a *model.Aside) *controlv1.SetAside {
	return &controlv1.SetAside{Rule: ruleMessage(&a.Rule), Cause: asideCause(a.Cause), Source: a.Source, First: a.First, Last: a.Last, Omitted: a.Omitted}
}

func asideCause(c model.AsideCause) controlv1.AsideCause {
	switch c {
	case model.AsideScan:
		return controlv1.AsideCause_ASIDE_CAUSE_SCAN
	case model.AsidePorts:
		return controlv1.AsideCause_ASIDE_CAUSE_PORTS
	}
	return controlv1.AsideCause_ASIDE_CAUSE_UNSPECIFIED
}

// DecideSetAside puts a rule that was set aside in force, or deletes it.
func (c *control) DecideSetAside(ctx context.Context, r *controlv1.DecideSetAsideRequest) (*controlv1.DecideSetAsideResponse, error) {
	rule, err := (edit{c.s}).decideAside(r)
	if err != nil {
		return nil, err
	}
	if err := c.s.inForce(ctx); err != nil {
		return nil, err
	}
	return &controlv1.DecideSetAsideResponse{Rule: rule}, nil
}

// decideAside returns the rule in force, nil where it was dropped.
func (s edit) decideAside(r *controlv1.DecideSetAsideRequest) (*controlv1.Rule, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.learner.FindAside(r.Id)
	if ok && r.Revision != 0 && r.Revision != old.Rule.Revision {
		return nil, stale(fmt.Sprintf("rule %d", r.Id), r.Revision, old.Rule.Revision)
	}
	var out *controlv1.Rule
	var err error
	switch r.Decision {
	case controlv1.AsideDecision_ASIDE_DECISION_ACCEPT:
		var rule model.Rule
		if rule, err = s.learner.Accept(r.Id); err == nil {
			out, err = ruleMessage(&rule), s.markRule(&rule)
			s.stale = true
		}
	case controlv1.AsideDecision_ASIDE_DECISION_DROP:
		_, err = s.learner.Drop(r.Id)
	default:
		return nil, status.Errorf(codes.InvalidArgument, "decision %d does not exist: use accept or drop", r.Decision)
	}
	switch {
	case errors.Is(err, model.ErrNoAside):
		return nil, status.Error(codes.NotFound, err.Error())
	case err != nil:
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	if err := markAsides(s.Server); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	s.kick()
	return out, nil
}

// markAsides has the proposals stored that have changed, and logs those that are new. The lock is held.
func markAsides(s *Server) error {
	ids := s.learner.TakeAsides()
	if len(ids) == 0 {
		return nil
	}
	for _, id := range ids {
		a, ok := s.learner.FindAside(id)
		if !ok {
			s.dirty[asideKey(id)] = deleteKey(asideKey(id))
			continue
		}
		if a.Rule.Revision == 1 {
			s.log.Warn("learned rule set aside, not in force", "id", id, "rule", a.Rule.String(), "cause", a.Cause, "source", a.Source)
		}
		if err := s.mark(asideKey(id), &a); err != nil {
			return err
		}
	}
	s.kick()
	return s.mark(keyOrder, s.rules.Order())
}

// loadAsides reads what is set aside.
func (s loader) loadAsides(ctx context.Context) error {
	list, _, err := s.st.List(ctx, keyAsides)
	if err != nil {
		return err
	}
	asides := make([]model.Aside, len(list))
	for i, o := range list {
		if err := json.Unmarshal(o.Value, &asides[i]); err != nil {
			return fmt.Errorf("%s: %w", o.Key, err)
		}
	}
	s.learner.Restore(asides)
	return nil
}

// wideRules returns the wide learned rules of groups. The lock is held.
func wideRules(s *book, groups map[string]bool) []*controlv1.Rule {
	var out []*controlv1.Rule
	var members map[string][]string
	for _, r := range s.rules.LearnedRules() {
		if r.Disabled || !r.Wide() || !groups[r.From] && !groups[r.To] {
			continue
		}
		if members == nil {
			members = s.membersOf()
		}
		m := ruleMessage(&r)
		m.Warnings = s.ruleWarnings(&r, members)
		out = append(out, m)
	}
	return out
}

// wideWarning is what a wide rule allows, in words; "" for others.
func wideWarning(r *model.Rule) string {
	switch {
	case !r.Wide():
		return ""
	case r.To == model.External:
		return "wide: any address outside is allowed, not only those that were seen"
	case r.To == model.Metadata:
		return "wide: the cloud metadata service gives credentials to whoever reaches it"
	}
	return "wide: every port is allowed, not only those that were seen"
}

// serverName is the name that a client asked for.
func serverName(attrs map[string]string) string { return attrs["host"] }

// opens reports whether rules may be learned for an end: its group is in discover mode, or was when
// the connection began. A workload that still learns must not teach what may reach one that
// is protected or monitored, least of all what was refused there. A connection that began before the group
// was switched to discover teaches only by what it carries since, in both directions. The lock is held.
func (s *book) opens(e *end, c *controlv1.Connection) bool {
	switch since := s.since[e.group]; {
	case e.member == nil:
		return true
	case s.mode(e.group) != controlv1.Mode_MODE_DISCOVER:
		return c.First <= since
	case c.First >= since:
		return true
	default:
		lives := c.Outcome == controlv1.Outcome_OUTCOME_ESTABLISHED || c.Outcome == controlv1.Outcome_OUTCOME_CLOSED
		return c.Last > since && lives && c.PacketsIn > 0 && c.PacketsOut > 0
	}
}

// clientSource is the client as one who tries targets: the workload, or the address.
func clientSource(client *end) string {
	if m := client.managed(); m != nil {
		return m.node + "/" + m.workload.Name
	}
	return client.addr.String()
}
