package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/internal/specstore"
	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/blob"
)

// Keys of the store. Policy is kept by internal/specstore.
const (
	keySettings = "settings"
	keyGroups   = "group/"
	keyRules    = "rule/"
	keyOrder    = "counter/rules"
	keyVersion  = "counter/policy"
	keyNodes    = "node/" // a blob for each node
	keyGraph    = "graph" // a blob
	keyBackends = "backend/"
)

// storeTime bounds one change of the store.
const storeTime = 30 * time.Second

func ruleKey(id uint32) string    { return fmt.Sprintf("%s%010d", keyRules, id) }
func nodePath(name string) string { return keyNodes + url.PathEscape(name) }

// deleteKey returns the operation that removes a key, whatever its revision.
func deleteKey(k string) store.Op { return store.Op{Key: k, Delete: true, Revision: store.Any} }

func put(k string, b []byte) store.Op { return store.Op{Key: k, Value: b, Revision: store.Any} }

// load reads everything.
func (s loader) load(ctx context.Context) error {
	if err := s.loadSettings(ctx); err != nil {
		return err
	}
	groups, _, err := s.st.List(ctx, keyGroups)
	if err != nil {
		return err
	}
	for _, o := range groups {
		g := new(model.Group)
		if err := json.Unmarshal(o.Value, g); err != nil {
			return fmt.Errorf("%s: %w", o.Key, err)
		}
		s.groups[g.Name] = g
		if g.Switched > 0 {
			s.since[g.Name] = g.Switched
		}
	}
	if err := s.loadRules(ctx); err != nil {
		return err
	}
	if err := s.loadBackends(ctx); err != nil {
		return err
	}
	if err := s.loadNodes(ctx); err != nil {
		return err
	}
	if err := s.loadOwners(ctx); err != nil {
		return err
	}
	if err := s.loadLineage(ctx); err != nil {
		return err
	}
	return s.loadLearned(ctx)
}

func (s loader) loadSettings(ctx context.Context) error {
	found, err := s.read(ctx, keySettings, &s.settings)
	if err != nil {
		return err
	}
	if err := s.settings.Validate(); err != nil {
		return err
	}
	s.dir.settings = s.settings.Internal
	if !found {
		return s.mark(keySettings, &s.settings)
	}
	return nil
}

func (s loader) loadRules(ctx context.Context) error {
	list, _, err := s.st.List(ctx, keyRules)
	if err != nil {
		return err
	}
	rules := make([]model.Rule, len(list))
	for i, o := range list {
		if err := json.Unmarshal(o.Value, &rules[i]); err != nil {
			return fmt.Errorf("%s: %w", o.Key, err)
		}
	}
	var order model.Order
	if _, err := s.read(ctx, keyOrder, &order); err != nil {
		return err
	}
	s.rules = model.NewRules(rules, order)
	_, err = s.read(ctx, keyVersion, &s.version)
	return err
}

// loadNodes reads the nodes' workloads, and the versions of their policies: the next one
// must be higher than any that an agent may have seen.
func (s loader) loadNodes(ctx context.Context) error {
	list, _, err := s.st.List(ctx, keyNodes)
	if err != nil {
		return err
	}
	for _, o := range list {
		escaped, ok := strings.CutSuffix(strings.TrimPrefix(o.Key, keyNodes), "/head")
		if !ok {
			continue
		}
		name, err := url.PathUnescape(escaped)
		if err != nil {
			return fmt.Errorf("%s: %w", o.Key, err)
		}
		if err := s.loadNode(ctx, name); err != nil {
			return fmt.Errorf("%s: %w", o.Key, err)
		}
	}
	return nil
}

func (s loader) loadNode(ctx context.Context, name string) error {
	data, version, err := blob.Read(ctx, s.st, nodePath(name))
	if err != nil {
		return err
	}
	r := new(controlv1.ReportWorkloadsRequest)
	if err := proto.Unmarshal(data, r); err != nil {
		return err
	}
	members, own, err := newMembers(r)
	if err != nil {
		return err
	}
	s.dir.replace(name, members, own)
	s.dir.node(name).stored = version
	if err := specstore.Clean(ctx, s.st, name); err != nil {
		return err
	}
	v, err := specstore.Version(ctx, s.st, name)
	s.version = max(s.version, v)
	return err
}

// read reads an object of JSON and reports whether it is there.
func (s loader) read(ctx context.Context, key string, v any) (bool, error) {
	o, err := s.st.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(o.Value, v)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", key, err)
	}
	return true, nil
}

// mark has an object stored with the next apply. The lock is held, or s is not shared yet.
func (s *writes) mark(key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	s.dirty[key] = put(key, b)
	return nil
}

// markRule has a rule and the order of rules stored. The lock is held.
func (s *Server) markRule(r *model.Rule) error {
	return errors.Join(s.mark(ruleKey(r.ID), r), s.mark(keyOrder, s.rules.Order()))
}

// unmarkRule has a rule taken out of the store. The lock is held.
func (s *Server) unmarkRule(id uint32) error {
	s.dirty[ruleKey(id)] = deleteKey(ruleKey(id))
	return s.mark(keyOrder, s.rules.Order())
}

// mode returns a service group's mode, unspecified for other groups. The lock is held.
func (s *book) mode(group string) controlv1.Mode {
	if g := s.groups[group]; g != nil && g.Kind() == model.Service {
		return modeEnum(g.Mode)
	}
	return controlv1.Mode_MODE_UNSPECIFIED
}

// addGroup makes a service group that is not there yet. The lock is held.
func (c *collector) addGroup(name string) error {
	s := c.s
	if s.groups[name] != nil {
		return nil
	}
	g := &model.Group{Name: name, Mode: s.settings.DefaultMode, Created: s.now().UnixNano()}
	s.groups[name] = g
	s.stale = true
	return s.mark(keyGroups+name, g)
}

// setWorkloads makes a list the workloads of a node.
func (c *collector) setWorkloads(name string, members []*member, own []netip.Addr) error {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.dir.node(name)
	if n.reported && n.sameMembers(members, own) {
		return nil
	}
	n.reported = true
	s.dir.rememberGone(name, members, s.now().UnixNano())
	s.dir.replace(name, members, own)
	s.nodesDirty[name], s.stale = true, true
	for _, m := range members {
		if err := c.addGroup(m.group); err != nil {
			return err
		}
	}
	s.notify()
	s.kick()
	return nil
}

// message is the node's workloads as they were reported.
func (n *node) message() *controlv1.ReportWorkloadsRequest {
	r := &controlv1.ReportWorkloadsRequest{Node: n.name}
	for _, m := range n.members {
		r.Workloads = append(r.Workloads, m.workload)
	}
	for _, a := range n.own {
		r.NodeAddresses = append(r.NodeAddresses, a.String())
	}
	return r
}
