package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/policy"
)

// ListRules returns the rules that match, in order of evaluation.
func (c *control) ListRules(_ context.Context, r *controlv1.ListRulesRequest) (*controlv1.ListRulesResponse, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	match, err := s.ruleFilter(r)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	all := slices.DeleteFunc(s.rules.All(), func(x model.Rule) bool { return !match(&x) })
	part, next, err := cutAfter(all, r.Page, func(x *model.Rule) uint32 { return x.ID })
	if err != nil {
		return nil, err
	}
	out := &controlv1.ListRulesResponse{Policy: s.version, Total: uint64(len(all)), NextToken: next, SetAside: uint64(len(s.learner.Asides()))}
	members := s.membersOf()
	for i := range part {
		m := ruleMessage(&part[i])
		m.Warnings = s.ruleWarnings(&part[i], members)
		out.Rules = append(out.Rules, m)
	}
	return out, nil
}

func ruleMessage(r *model.Rule) *controlv1.Rule {
	return &controlv1.Rule{
		Id: r.ID, From: r.From, To: r.To, Ports: r.Ports.Strings(), Apps: r.Apps.Strings(), Action: actionEnum(r.Action),
		Origin: originEnum(r.Origin), Disabled: r.Disabled, Comment: r.Comment, Created: r.Created, Revision: r.Revision,
		Wide: r.Wide(), Names: slices.Clone(r.Names),
	}
}

// PutRule creates a user rule, or writes one whole.
func (c *control) PutRule(ctx context.Context, r *controlv1.PutRuleRequest) (*controlv1.PutRuleResponse, error) {
	rule, err := (edit{c.s}).putRule(r)
	if err != nil {
		return nil, err
	}
	if err := c.s.inForce(ctx); err != nil {
		return nil, err
	}
	out := &controlv1.PutRuleResponse{Rule: ruleMessage(&rule)}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	out.Rule.Warnings = c.s.ruleWarnings(&rule, c.s.membersOf())
	return out, nil
}

// ruleWait is how long a change of rules waits for agents; one that is away gets it later.
const ruleWait = 2 * time.Second

// inForce compiles at once, and waits a moment for the agents that are there.
func (s *Server) inForce(ctx context.Context) error {
	version, err := s.apply(ctx)
	if err != nil {
		return notStored(err)
	}
	all := make(map[string]bool)
	s.mu.Lock()
	for _, n := range s.dir.nodes {
		if s.now().UnixNano()-n.seen > int64(ruleWait)*3 {
			continue // away, or never here
		}
		for _, m := range n.members {
			all[m.group] = true
		}
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, ruleWait)
	defer cancel()
	s.await(ctx, all, version)
	return nil
}

// notStored is the error for users that a change is in force but may not outlive the controller.
func notStored(err error) error {
	return status.Errorf(codes.Unavailable, "the change is not stored yet and is tried again: %v", err)
}

// DeleteRule deletes a rule, learned ones too; they are learned again from new traffic.
func (c *control) DeleteRule(ctx context.Context, r *controlv1.DeleteRuleRequest) (*controlv1.DeleteRuleResponse, error) {
	err := (edit{c.s}).deleteRule(r.Id, r.Revision)
	switch {
	case status.Code(err) == codes.Aborted:
		return nil, err
	case errors.Is(err, model.ErrNoRule):
		return nil, status.Error(codes.NotFound, err.Error())
	case err != nil:
		return nil, status.Error(codes.Internal, err.Error())
	}
	if err := c.s.inForce(ctx); err != nil {
		return nil, err
	}
	return &controlv1.DeleteRuleResponse{}, nil
}

func (s edit) deleteRule(id uint32, revision uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.rules.Find(id); ok && revision != 0 && old.Revision != revision {
		return stale(fmt.Sprintf("rule %d", id), revision, old.Revision)
	}
	if _, err := s.rules.Delete(id); err != nil {
		return err
	}
	s.stale = true
	s.kick()
	return s.unmarkRule(id)
}

// ListGroups returns the groups that are selected: service and user groups, then the reserved ones.
func (c *control) ListGroups(_ context.Context, r *controlv1.ListGroupsRequest) (*controlv1.ListGroupsResponse, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	names := append(slices.Sorted(maps.Keys(s.groups)), model.ReservedNames()...)
	if len(r.Select) > 0 {
		wanted := make(map[string]bool)
		for _, name := range r.Select {
			g, err := s.resolve(name)
			if err != nil {
				return nil, status.Errorf(codes.InvalidArgument, "select: %v", err)
			}
			wanted[g] = true
		}
		names = slices.DeleteFunc(names, func(name string) bool { return !wanted[name] })
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return len(r.Kinds) > 0 && !slices.Contains(r.Kinds, kindEnum(model.KindOf(name)))
	})
	part, next, err := cutAfter(names, r.Page, func(name *string) string { return *name })
	if err != nil {
		return nil, err
	}
	return &controlv1.ListGroupsResponse{Groups: s.groupMessages(part), Total: uint64(len(names)), NextToken: next}, nil
}

// groupMessages returns groups as users see them. The lock is held.
func (s *book) groupMessages(names []string) []*controlv1.Group {
	count := make(map[string]uint64)
	for _, r := range s.rules.All() {
		count[r.From]++
		if r.To != r.From {
			count[r.To]++
		}
	}
	members := s.membersOf()
	out := make([]*controlv1.Group, len(names))
	for i, name := range names {
		out[i] = &controlv1.Group{Name: name, Kind: kindEnum(model.KindOf(name)), Mode: s.mode(name), Members: members[name], Rules: count[name], Note: s.dir.hostNote(name)}
		if g := s.groups[name]; g != nil {
			groupSettings(out[i], g)
		}
	}
	return out
}

// SetMode sets the mode of service groups and, if the request has wait, waits until agents enforce it.
func (c *control) SetMode(ctx context.Context, r *controlv1.SetModeRequest) (*controlv1.SetModeResponse, error) {
	mode, err := parseMode(r.Mode)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	named, changed, err := (edit{c.s}).setMode(r.Groups, mode)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	out := new(controlv1.SetModeResponse)
	out.Policy, out.Enforced, out.Groups, err = c.groupsInForce(ctx, r.Wait, named, changed)
	if err != nil {
		return nil, err
	}
	if mode != policy.Discover {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		out.Wide = wideRules(c.s.book, named)
	}
	return out, nil
}

// setMode sets the mode of the groups, as changeGroups does.
func (s edit) setMode(names []string, mode policy.Mode) (named map[string]bool, changed []string, err error) {
	return s.changeGroups(names, func(g *model.Group) bool {
		if g.Mode == mode {
			return false
		}
		g.Mode, g.Switched = mode, s.now().UnixNano()
		s.since[g.Name] = g.Switched
		return true
	})
}

// modeGroups is the service groups that a person names. The lock is held.
func (s *book) modeGroups(names []string) (map[string]bool, error) {
	if len(names) == 0 {
		return nil, errors.New("no group is given: name groups, or all")
	}
	out := make(map[string]bool)
	for _, name := range names {
		if name == "all" {
			for g := range s.groups {
				if model.KindOf(g) == model.Service {
					out[g] = true
				}
			}
			continue
		}
		g, err := s.serviceGroup(name)
		if err != nil {
			return nil, err
		}
		out[g] = true
	}
	return out, nil
}
