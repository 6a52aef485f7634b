package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
)

// keyLineage holds the history of the store, which each policy contains.
const keyLineage = "counter/lineage"

// loadLineage begins this controller's term. The version is known before.
func (s loader) loadLineage(ctx context.Context) error {
	if _, err := s.read(ctx, keyLineage, &s.lineage); err != nil {
		return err
	}
	s.lineage.Begin(rand.Text(), s.version+1)
	return s.mark(keyLineage, &s.lineage)
}

// acceptor is the part of Control that accepts stores.
type acceptor struct {
	controlv1.UnimplementedControlServer
	s *Server
}

// AcceptStore lets the store succeed the policies that agents hold.
func (c *acceptor) AcceptStore(ctx context.Context, r *controlv1.AcceptStoreRequest) (*controlv1.AcceptStoreResponse, error) {
	nodes, err := (edit{c.s}).acceptStore(r.Nodes)
	if err != nil {
		return nil, err
	}
	out := &controlv1.AcceptStoreResponse{Nodes: nodes}
	if out.Policy, err = c.s.apply(ctx); err != nil {
		return nil, notStored(err)
	}
	if !r.Wait {
		return out, nil
	}
	out.Enforced = c.s.until(ctx, func() bool {
		return !slices.ContainsFunc(nodes, func(name string) bool {
			n := c.s.dir.nodes[name]
			return n != nil && (n.status.GetHeld() != nil || n.policy < out.Policy)
		})
	})
	return out, nil
}

// acceptStore accepts what the agents of the named nodes hold, of all where none is named, and returns them.
func (s edit) acceptStore(names []string) (accepted []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if s.dir.nodes[name] == nil {
			return nil, status.Errorf(codes.InvalidArgument, "no node is called %q: there are %s", name, listed(s.dir.names()))
		}
	}
	for _, name := range s.dir.names() {
		n := s.dir.nodes[name]
		h := n.status.GetHeld()
		if h == nil || len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		accepted = append(accepted, name)
		s.version = max(s.version, h.Version) // the next one is newer
		s.lineage.Accept(policy.Origin{Term: h.Term, Version: h.Version})
		s.log.Warn("store accepted by a user, held policy given up", "node", name, "held", h.Version)
		s.publish(controlv1.EventKind_EVENT_KIND_NODE, name, fmt.Sprintf("a user accepted the store: the agent of node %s gives up policy %d", name, h.Version))
	}
	if len(accepted) == 0 {
		return nil, nil
	}
	s.stale = true
	s.kick()
	if err := s.mark(keyLineage, &s.lineage); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return accepted, nil
}

// warnings returns sentences about the controller's own state. The lock is held.
func (s *writes) warnings() []string {
	var out []string
	if s.unstored != nil {
		out = append(out, fmt.Sprintf("changes are not stored since %s, and would be lost with this process: %s",
			s.unstoredSince.UTC().Format("15:04:05"), strings.TrimSpace(s.unstored.Error())))
	}
	return out
}

// noteStored notes whether changes could be stored. The lock is held.
func (s *writes) noteStored(err error, now time.Time) {
	if err != nil && s.unstored == nil {
		s.unstoredSince = now
	}
	s.unstored = err
}
