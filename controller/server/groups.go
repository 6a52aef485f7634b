package server

import (
	"cmp"
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

// PutGroup writes a group whole: the settings of a service group, or a user group, which
// revision 0 creates.
func (c *control) PutGroup(ctx context.Context, r *controlv1.PutGroupRequest) (*controlv1.PutGroupResponse, error) {
	next, err := parseGroup(r.Group)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := (edit{c.s}).putGroup(next, r.Group.Revision); err != nil {
		return nil, err
	}
	version, enforced, groups, err := c.groupsInForce(ctx, r.Wait, map[string]bool{next.Name: true}, []string{next.Name})
	if err != nil {
		return nil, err
	}
	return &controlv1.PutGroupResponse{Policy: version, Enforced: enforced, Group: groups[0]}, nil
}

func (s edit) putGroup(next *model.Group, revision uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.groups[next.Name]
	switch {
	case old == nil && next.Kind() == model.Service:
		return status.Errorf(codes.NotFound, "no group is called %q: service groups are made when their first workload is seen; `sluice groups` lists those that exist", next.Name)
	case old == nil && revision != 0:
		return stale("group "+next.Name+", which does not exist,", revision, 0)
	case old != nil && old.Revision != revision:
		return stale("group "+next.Name, revision, old.Revision)
	}
	now := s.now().UnixNano()
	next.Created = now
	if old != nil {
		next.Created, next.Switched = old.Created, old.Switched
		if old.Mode != next.Mode {
			next.Switched, s.since[next.Name] = now, now
		}
	}
	// A user group begins with revision 1: 0 stands for one that does not exist.
	return s.writeGroup(next, revision)
}

// writeGroup puts a group in the place of its former self. The lock is held.
func (s edit) writeGroup(g *model.Group, former uint64) error {
	g.Revision = former + 1
	s.groups[g.Name] = g
	s.stale = true
	if err := s.mark(keyGroups+g.Name, g); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

// parseGroup checks what a client wrote.
func parseGroup(m *controlv1.Group) (*model.Group, error) {
	if m == nil {
		return nil, errors.New("no group is given")
	}
	g := &model.Group{Name: m.Name, Comment: m.Comment, Hold: time.Duration(m.Hold)}
	if len(m.Comment) > maxComment {
		return nil, fmt.Errorf("group %q: the comment has %d bytes: use up to %d", m.Name, len(m.Comment), maxComment)
	}
	var err error
	if m.Mode != controlv1.Mode_MODE_UNSPECIFIED || g.Kind() == model.Service {
		if g.Mode, err = parseMode(m.Mode); err != nil {
			return nil, fmt.Errorf("group %q: %w", m.Name, err)
		}
	}
	if g.Fail, err = parseFail(m.Fail); err != nil {
		return nil, fmt.Errorf("group %q: %w", m.Name, err)
	}
	if g.HoldExpired, err = parseExpired(m.HoldExpired); err != nil {
		return nil, fmt.Errorf("group %q: %w", m.Name, err)
	}
	if m.OnDeny != "" {
		if g.OnDeny, err = policy.ParseOnDeny(m.OnDeny); err != nil {
			return nil, fmt.Errorf("group %q: %w", m.Name, err)
		}
	}
	if m.Unready != "" {
		if g.Unready, err = policy.ParseUnready(m.Unready); err != nil {
			return nil, fmt.Errorf("group %q: %w", m.Name, err)
		}
	}
	if g.CIDRs, err = parsePrefixes("group "+m.Name, m.Cidrs); err != nil {
		return nil, err
	}
	if x := m.Selector; x != nil {
		g.Selector = &model.Selector{Namespace: x.Namespace, Service: x.Service, Labels: maps.Clone(x.Labels)}
	}
	return g, g.Validate()
}

// maxComment bounds a group's comment, bytes.
const maxComment = 1000

// groupSettings fills a group's settings into its message.
func groupSettings(out *controlv1.Group, g *model.Group) {
	out.Comment, out.Created, out.Revision, out.Cidrs = g.Comment, g.Created, g.Revision, prefixTexts(g.CIDRs)
	if x := g.Selector; x != nil {
		out.Selector = &controlv1.Selector{Namespace: x.Namespace, Service: x.Service, Labels: maps.Clone(x.Labels)}
	}
	if g.Kind() == model.Service {
		out.Fail, out.OnDeny, out.Unready, out.Hold, out.HoldExpired = failEnum(g.Fail), g.OnDeny.String(), g.Unready.String(), int64(g.Hold), expiredEnum(g.HoldExpired)
	}
}

// SetFail sets the fail mode of service groups and, if the request has wait, waits until agents enforce it.
func (c *control) SetFail(ctx context.Context, r *controlv1.SetFailRequest) (*controlv1.SetFailResponse, error) {
	fail, err := parseFail(r.Fail)
	if err == nil && fail == model.FailDefault {
		err = errors.New("no fail mode is given: use open or closed")
	}
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	named, changed, err := (edit{c.s}).setFail(r.Groups, fail)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	out := new(controlv1.SetFailResponse)
	out.Policy, out.Enforced, out.Groups, err = c.groupsInForce(ctx, r.Wait, named, changed)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// setFail sets the fail mode of the groups, as changeGroups does.
func (s edit) setFail(names []string, fail model.Fail) (named map[string]bool, changed []string, err error) {
	return s.changeGroups(names, func(g *model.Group) bool {
		differs := g.Fail != fail
		g.Fail = fail
		return differs
	})
}

// changeGroups applies change, which reports whether it changed anything, to a copy of every
// named service group, and writes those that it changed. It returns all that were named, and
// those that changed, in order of their names. change is called with the lock held.
func (s edit) changeGroups(names []string, change func(*model.Group) bool) (named map[string]bool, changed []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if named, err = s.modeGroups(names); err != nil {
		return nil, nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		next := *s.groups[name]
		if !change(&next) {
			continue
		}
		if err := s.writeGroup(&next, next.Revision); err != nil {
			return nil, nil, err
		}
		changed = append(changed, name)
	}
	return named, changed, nil
}

// groupsInForce compiles changed groups into the policy and, if wait is set, waits until agents
// enforce it for the named ones. It returns the policy's version, whether it is enforced, and
// the changed groups as they are now.
func (c *control) groupsInForce(ctx context.Context, wait bool, named map[string]bool, changed []string) (version uint64, enforced bool, groups []*controlv1.Group, err error) {
	s := c.s
	if version, err = s.apply(ctx); err != nil {
		return 0, false, nil, notStored(err)
	}
	if wait {
		enforced = s.await(ctx, named, version)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return version, enforced, s.groupMessages(changed), nil
}

// putRule creates a user rule, or writes one whole.
func (s edit) putRule(r *controlv1.PutRuleRequest) (model.Rule, error) {
	rule, err := parseRule(r.GetRule())
	if err != nil {
		return model.Rule{}, status.Error(codes.InvalidArgument, err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.resolveEnds(&rule, r.Rule); err != nil {
		return model.Rule{}, status.Error(codes.InvalidArgument, err.Error())
	}
	rule.Created = s.now().UnixNano()
	if rule.ID == 0 {
		rule.Revision = 1
		rule, err = s.rules.Add(rule, r.Before)
	} else {
		old, ok := s.rules.Find(rule.ID)
		switch {
		case !ok:
			return model.Rule{}, status.Errorf(codes.NotFound, "rule %d: %v: `sluice rules` lists those that exist", rule.ID, model.ErrNoRule)
		case old.Revision != r.Rule.Revision:
			return model.Rule{}, stale(fmt.Sprintf("rule %d", rule.ID), r.Rule.Revision, old.Revision)
		}
		rule.Created, rule.Revision = cmp.Or(old.Created, rule.Created), old.Revision+1
		rule, err = s.rules.Replace(rule, r.Before)
	}
	if err != nil {
		return model.Rule{}, status.Error(codes.InvalidArgument, err.Error())
	}
	s.stale = true
	s.kick()
	if err := s.markRule(&rule); err != nil {
		return model.Rule{}, status.Error(codes.Internal, err.Error())
	}
	return rule, nil
}

// parseRule checks what a client wrote, but for the groups.
func parseRule(m *controlv1.Rule) (rule model.Rule, err error) {
	if m == nil {
		return rule, errors.New("no rule is given")
	}
	rule = model.Rule{ID: m.Id, Disabled: m.Disabled, Comment: m.Comment}
	if rule.Ports, err = model.ParsePorts(m.Ports); err != nil {
		return rule, err
	}
	if rule.Apps, err = model.ParseApps(m.Apps); err != nil {
		return rule, err
	}
	if rule.Action, err = parseAction(m.Action); err != nil {
		return rule, err
	}
	rule.Origin, err = parseOrigin(m.Origin)
	return rule, err
}

// resolveEnds finds the groups that a rule names. The lock is held.
func (s edit) resolveEnds(rule *model.Rule, m *controlv1.Rule) (err error) {
	if rule.From, err = s.resolveForRule(m.From); err != nil {
		return fmt.Errorf("from: %w", err)
	}
	if rule.To, err = s.resolveForRule(m.To); err != nil {
		return fmt.Errorf("to: %w", err)
	}
	return nil
}
