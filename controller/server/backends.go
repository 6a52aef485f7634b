package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/store"
)

// backendChoice is a user's choice for one workload; it is stored, and kept while the workload is gone.
type backendChoice struct {
	Node    string `json:"node"`
	ID      string `json:"id"`
	Name    string `json:"name"`
	Backend string `json:"backend"`
	Set     int64  `json:"set"` // ns since the epoch
}

// maxChoices bounds the choices that are kept; workloads that are gone for good leave theirs.
const maxChoices = 10_000

func choiceKey(node, id string) string {
	return keyBackends + url.PathEscape(node) + "/" + url.PathEscape(id)
}

// loadBackends reads the choices.
func (s loader) loadBackends(ctx context.Context) error {
	list, _, err := s.st.List(ctx, keyBackends)
	if err != nil {
		return err
	}
	for _, o := range list {
		c := new(backendChoice)
		if err := json.Unmarshal(o.Value, c); err != nil {
			return fmt.Errorf("%s: %w", o.Key, err)
		}
		s.backends[choiceKey(c.Node, c.ID)] = c
	}
	return nil
}

// SetBackend selects the backend of a workload and, if the request has wait, waits until its agent
// has done what it can.
func (c *control) SetBackend(ctx context.Context, r *controlv1.SetBackendRequest) (*controlv1.SetBackendResponse, error) {
	s := c.s
	choice, err := (edit{s}).setBackend(r)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	out := new(controlv1.SetBackendResponse)
	if out.Policy, err = s.apply(ctx); err != nil {
		return nil, notStored(err)
	}
	if r.Wait {
		out.Enforced = s.until(ctx, func() bool {
			n := s.dir.nodes[choice.Node]
			return n == nil || n.members[choice.ID] == nil || n.policy >= out.Policy
		})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Workload = &controlv1.Workload{Id: choice.ID, Name: choice.Name, Node: choice.Node}
	if n := s.dir.nodes[choice.Node]; n != nil && n.members[choice.ID] != nil {
		out.Workload = s.workloadMessage(n.members[choice.ID])
	}
	return out, nil
}

// setBackend notes a choice, and gives it.
func (s edit) setBackend(r *controlv1.SetBackendRequest) (*backendChoice, error) {
	if err := policy.CheckBackend(r.Backend); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.choiceFor(strings.TrimSpace(r.Workload))
	if err != nil {
		return nil, err
	}
	key := choiceKey(c.Node, c.ID)
	was := s.backends[key]
	auto := r.Backend == policy.AutoBackend
	switch {
	case was == nil && auto, was != nil && was.Backend == r.Backend:
		return c, nil
	case was == nil && len(s.backends) >= maxChoices:
		return nil, fmt.Errorf("backends were chosen for %d workloads already, and no more are kept: use the label sluice.net/backend, or set some of them to auto", len(s.backends))
	}
	s.stale = true
	if auto {
		delete(s.backends, key)
		s.dirty[key] = store.Op{Key: key, Delete: true, Revision: store.Any}
		return c, nil
	}
	c.Backend, c.Set = r.Backend, s.now().UnixNano()
	s.backends[key] = c
	return c, s.mark(key, c)
}

// choiceFor is the choice, without a backend yet, for the workload that a person means. One that is away can
// be named where there is a choice for it. The lock is held.
func (s *book) choiceFor(name string) (*backendChoice, error) {
	var choices []*backendChoice
	for _, m := range s.dir.named(name) {
		if m.workload.HostNet {
			return nil, fmt.Errorf("%s lives in the network of its host, where connections are watched by their sockets and nothing is enforced: it has no backend to choose", m.workload.Name)
		}
		choices = append(choices, &backendChoice{Node: m.node, ID: m.workload.Id, Name: m.workload.Name})
	}
	if len(choices) == 0 {
		for _, c := range s.backends {
			if c.Name == name || c.ID == name || c.Node+"/"+c.Name == name {
				choices = append(choices, &backendChoice{Node: c.Node, ID: c.ID, Name: c.Name})
			}
		}
	}
	switch len(choices) {
	case 0:
		return nil, s.dir.unknownWorkload(name)
	case 1:
		return choices[0], nil
	}
	var all []string
	for _, c := range choices {
		all = append(all, c.Node+"/"+c.ID)
	}
	return nil, fmt.Errorf("%d workloads are called %q: choose one: %s", len(choices), name, listed(all))
}

// unknownWorkload is the error where no workload has a name.
func (d *directory) unknownWorkload(name string) error {
	var known []string
	for _, m := range d.all() {
		known = append(known, m.workload.Name)
	}
	if len(known) == 0 {
		return fmt.Errorf("no workload is called %q: there are none now", name)
	}
	return fmt.Errorf("no workload is called %q: there are %s", name, listed(known))
}
