package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/controller/learn"
	"github.com/sluicenet/sluice/store/blob"
)

// saved is what is kept of observations: the graph, and which reports are in it.
type saved struct {
	Graph    *graph.Snapshot          `json:"graph"`
	Boots    map[string][]boot        `json:"boots"`    // by node
	Unjudged map[unjudgedCause]uint64 `json:"unjudged"` // frames
}

// save stores the graph, if it changed.
func (s *Server) save(ctx context.Context) error {
	s.change.Lock()
	defer s.change.Unlock()
	s.mu.Lock()
	if !s.unsaved {
		s.mu.Unlock()
		return nil
	}
	x := saved{Graph: s.graph.Snapshot(), Boots: make(map[string][]boot)} // under the lock, so that they agree
	for name, n := range s.dir.nodes {
		x.Boots[name] = slices.Clone(n.boots)
	}
	x.Unjudged = maps.Clone(s.unjudged.total)
	s.unsaved = false
	s.graphVersion++ // used up even where it fails: it may have been written all the same
	version, kept := s.graphVersion, s.journal
	s.journal = journal{}
	s.mu.Unlock()
	data, err := json.Marshal(x)
	if err == nil {
		err = ctx.Err() // Close stores it
	}
	if err == nil {
		if err = blob.Write(ctx, s.st, keyGraph, version, data); err != nil {
			err = fmt.Errorf("store graph: %w", err)
		}
	}
	if err == nil {
		if err = emptyJournal(ctx, s, kept.keys); err == nil {
			return nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsaved = true
	s.journal = journal{append(kept.keys, s.journal.keys...), kept.bytes + s.journal.bytes}
	return err
}

// loadLearned reads the graph and prepares for learning. A graph that cannot be read is
// history lost and logged, but no reason to leave workloads without a controller.
func (s loader) loadLearned(ctx context.Context) error {
	s.learner, s.graph = learn.New(s.rules), graph.New(graph.Limits{})
	if err := s.loadAsides(ctx); err != nil {
		return err
	}
	if err := blob.Clean(ctx, s.st, keyGraph); err != nil {
		return err
	}
	head, _, err := blob.ReadHead(ctx, s.st, keyGraph)
	if err != nil && !errors.Is(err, blob.ErrBroken) {
		return err
	}
	s.graphVersion = head.Version
	data, _, err := blob.Read(ctx, s.st, keyGraph)
	if err != nil && !errors.Is(err, blob.ErrBroken) {
		return err
	}
	x := struct {
		Graph *graph.Graph `json:"graph"`
		saved
	}{Graph: s.graph}
	if err == nil && data != nil {
		err = json.Unmarshal(data, &x)
	}
	if err != nil {
		s.log.Error("connection history unreadable, starting empty", "error", err)
		s.graph = graph.New(graph.Limits{})
		return s.replay(ctx)
	}
	for name, boots := range x.Boots {
		s.dir.node(name).boots = boots
	}
	s.unjudged.restore(x.Unjudged)
	return s.replay(ctx)
}
