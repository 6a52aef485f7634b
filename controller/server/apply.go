package server

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/sluicenet/sluice/controller/compile"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/specstore"
	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/blob"
)

// work is what one apply has to do, taken from the state under its lock.
type work struct {
	s       *Server
	ops     []store.Op
	nodes   map[string][]byte // workloads to store, by node
	compile *compile.Input    // nil where the policy stays
	names   []string          // nodes to compile for
	lineage *policy.Lineage   // valid where compile is
}

// apply stores what changed, then compiles and stores the policy of every node where it is
// not what is known. It gives the version that stands. What a store refuses is tried again
// with the next apply. A caller that goes away does not cut it in two.
func (s *Server) apply(ctx context.Context) (uint64, error) { return s.do(ctx, true) }

// flush stores what changed and leaves compiling to Run.
func (s *Server) flush(ctx context.Context) error {
	_, err := s.do(ctx, false)
	return err
}

func (s *Server) do(ctx context.Context, compiling bool) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	s.change.Lock()
	defer s.change.Unlock()
	w, err := s.takeWork(compiling)
	if err == nil {
		err = w.store(ctx)
	}
	if err == nil && w.compile != nil {
		err = w.compilePolicies(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteStored(err, s.now())
	if err != nil {
		s.giveBack(w)
		return s.version, err
	}
	return s.version, nil
}

// takeWork collects what changed; without compiling, only what is to be stored.
func (s *Server) takeWork(compiling bool) (*work, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &work{s: s, nodes: make(map[string][]byte)}
	for name := range s.nodesDirty {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(s.dir.node(name).message())
		if err != nil {
			return w, fmt.Errorf("pack workloads of %s: %w", name, err)
		}
		w.nodes[name] = b
	}
	if s.stale && compiling {
		s.stale = false
		w.compile, w.names, w.lineage = s.input(s.version+1), s.dir.names(), s.lineage.Clone()
		s.version = w.compile.Version
		if err := s.mark(keyVersion, s.version); err != nil {
			return w, err
		}
	}
	for _, op := range s.dirty {
		w.ops = append(w.ops, op)
	}
	// A report is stored after what was learned from it, so that one that is there was learned from.
	slices.SortFunc(w.ops, func(a, b store.Op) int {
		if a, b := strings.HasPrefix(a.Key, keyJournal), strings.HasPrefix(b.Key, keyJournal); a != b {
			if a {
				return 1
			}
			return -1
		}
		return strings.Compare(a.Key, b.Key)
	})
	clear(s.dirty)
	clear(s.nodesDirty)
	return w, nil
}

// giveBack has work done again, but for what changed since. The lock is held.
func (s *writes) giveBack(w *work) {
	for _, op := range w.ops {
		if _, newer := s.dirty[op.Key]; !newer {
			s.dirty[op.Key] = op
		}
	}
	for name := range w.nodes {
		s.nodesDirty[name] = true
	}
	s.stale = s.stale || w.compile != nil
	s.kick()
}

// input is the whole of what policy is made from. The lock is held.
func (s *book) input(version uint64) *compile.Input {
	in := &compile.Input{Version: version, Rules: s.rules.All(), Settings: s.settings}
	for _, g := range s.groups {
		in.Groups = append(in.Groups, *g)
	}
	slices.SortFunc(in.Groups, func(a, b model.Group) int { return strings.Compare(a.Name, b.Name) })
	for _, m := range s.dir.all() {
		w := m.policy
		if c := s.backends[choiceKey(m.node, w.ID)]; c != nil {
			w.Backend = c.Backend
		}
		in.Workloads = append(in.Workloads, w)
	}
	for _, name := range s.dir.names() {
		in.Nodes = append(in.Nodes, model.Node{Name: name, Addresses: s.dir.nodes[name].own})
	}
	return in
}

// store writes groups, rules, counters and the nodes' workloads.
func (w *work) store(ctx context.Context) error {
	s := w.s
	for ops := range store.Chunks(w.ops) {
		if _, err := s.st.Commit(ctx, ops...); err != nil {
			return fmt.Errorf("store changes: %w", err)
		}
	}
	for name, data := range w.nodes {
		s.mu.Lock()
		n := s.dir.node(name)
		n.stored++
		version := n.stored
		s.mu.Unlock()
		if err := blob.Write(ctx, s.st, nodePath(name), version, data); err != nil {
			return fmt.Errorf("store workloads of %s: %w", name, err)
		}
	}
	return nil
}

// compilePolicies makes and stores the policy of every node.
func (w *work) compilePolicies(ctx context.Context) error {
	s := w.s
	begun := s.now()
	for _, name := range w.names {
		w.compile.Node = name
		spec, notes := compile.Compile(w.compile)
		spec.Lineage = w.lineage
		for _, note := range notes {
			s.log.Warn("policy compiled with a warning", "node", name, "note", note)
		}
		if err := specstore.Write(ctx, s.st, name, spec); err != nil {
			return err
		}
		s.mu.Lock()
		s.tables[name] = &table{spec: spec}
		s.mu.Unlock()
	}
	s.log.Info("policy compiled", "version", w.compile.Version, "nodes", len(w.names), "rules", len(w.compile.Rules), "took", s.now().Sub(begun))
	return nil
}
