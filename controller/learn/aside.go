package learn

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/app"
)

// Connections that may have been made in order to be learned, within a scan or a flood, are set aside: shown,
// kept, and not in force until a user accepts them. There is one proposal for each pair of groups and application. What is taught again by another
// source, or by the same one long after its scan, becomes a rule as if it had not been set aside.

// Bounds of what is set aside, in all and from one group. Further proposals are counted by Lost.
const (
	maxAsides  = 1000
	maxAsideOf = 200
)

// asides is what is set aside.
type asides struct {
	byID    map[uint32]model.Aside
	index   map[key]uint32
	from    map[string]int // proposals by client's group
	changed map[uint32]bool
	lost    uint64
}

func newAsides() asides {
	return asides{byID: make(map[uint32]model.Aside), index: make(map[key]uint32), from: make(map[string]int), changed: make(map[uint32]bool)}
}

// keyOfRule returns what a learned rule is the one rule for.
func keyOfRule(r *model.Rule) key {
	k := key{r.To, r.From, anyApp}
	if len(r.Apps) > 0 {
		k.app = int32(r.Apps[0])
	}
	return k
}

// Restore continues with proposals that were stored.
func (l *Learner) Restore(list []model.Aside) {
	for _, a := range list {
		l.asides.putAside(a)
		delete(l.asides.changed, a.Rule.ID)
	}
}

// Asides returns what is set aside, by id.
func (l *Learner) Asides() []model.Aside {
	return slices.SortedFunc(maps.Values(l.asides.byID), func(a, b model.Aside) int { return cmp.Compare(a.Rule.ID, b.Rule.ID) })
}

// AsidesLost returns how many observations found no room among the proposals.
func (l *Learner) AsidesLost() uint64 { return l.asides.lost }

// FindAside returns a proposal.
func (l *Learner) FindAside(id uint32) (model.Aside, bool) {
	a, ok := l.asides.byID[id]
	return a, ok
}

// TakeAsides returns the ids of proposals that were written or deleted since the last call.
func (l *Learner) TakeAsides() []uint32 {
	out := slices.Sorted(maps.Keys(l.asides.changed))
	clear(l.asides.changed)
	return out
}

// Accept puts a proposal in force: as a learned rule, or as part of the one for the same groups and
// application, which is returned.
func (l *Learner) Accept(id uint32) (model.Rule, error) {
	a, ok := l.asides.byID[id]
	if !ok {
		return model.Rule{}, noAside(id)
	}
	k := keyOfRule(&a.Rule)
	r, found := l.rules.Find(l.index[k])
	switch {
	case !found:
		r = a.Rule
	case len(r.Ports) > 0:
		r.Ports = slices.Concat(r.Ports, a.Rule.Ports).Normal()
	}
	if len(r.Ports) > model.MaxPortsOf {
		return model.Rule{}, fmt.Errorf("rule %d would have %d ports: add a rule with ranges by `sluice rules add`, then drop the proposal", r.ID, len(r.Ports))
	}
	r.Comment, r.Revision = "accepted by a user", r.Revision+1
	r = l.rules.PutLearned(r)
	l.index[k] = r.ID
	l.asides.removeAside(id)
	return r, nil
}

// Drop deletes a proposal.
func (l *Learner) Drop(id uint32) (model.Aside, error) {
	a, ok := l.asides.byID[id]
	if !ok {
		return a, noAside(id)
	}
	l.asides.removeAside(id)
	return a, nil
}

func noAside(id uint32) error {
	return fmt.Errorf("rule %d: %w: `sluice rules --set-aside` lists those that are", id, model.ErrNoAside)
}

func (s *asides) putAside(a model.Aside) {
	id := a.Rule.ID
	if _, ok := s.byID[id]; !ok {
		s.index[keyOfRule(&a.Rule)] = id
		s.from[a.Rule.From]++
	}
	s.byID[id], s.changed[id] = a, true
}

func (s *asides) removeAside(id uint32) {
	a, ok := s.byID[id]
	if !ok {
		return
	}
	delete(s.byID, id)
	delete(s.index, keyOfRule(&a.Rule))
	if s.from[a.Rule.From]--; s.from[a.Rule.From] <= 0 {
		delete(s.from, a.Rule.From)
	}
	s.changed[id] = true
}

// setAside keeps a lesson as a proposal.
func (l *Learner) setAside(x *lesson, cause model.AsideCause, now int64) {
	s := &l.asides
	a, ok := s.byID[s.index[x.key]]
	switch {
	case ok && covers(a.Rule.Ports, x.port):
		return // known; its time is not written for each repetition
	case ok && len(a.Rule.Ports) >= model.MaxPortsOf:
		a.Omitted++
		s.byID[a.Rule.ID] = a // stored with its next change
		return
	case ok:
		a.Rule.Ports = append(slices.Clone(a.Rule.Ports), x.port).Normal()
	case len(s.byID) >= maxAsides || s.from[x.key.from] >= maxAsideOf:
		s.lost++
		return
	default:
		r := model.Rule{ID: l.rules.TakeLearnedID(), From: x.key.from, To: x.key.to, Ports: model.Ports{x.port}, Action: model.Allow, Origin: model.Learned, Created: now}
		if x.key.app != anyApp {
			r.Apps = model.Apps{app.ID(x.key.app)}
		}
		a = model.Aside{Rule: r, Cause: cause, Source: x.source, First: now}
	}
	a.Last = now
	a.Rule.Revision++
	s.putAside(a)
}

// release removes a port from the proposals, because a rule has it now.
func (l *Learner) release(x *lesson) {
	a, ok := l.asides.byID[l.asides.index[x.key]]
	if !ok || !covers(a.Rule.Ports, x.port) {
		return
	}
	a.Rule.Ports = without(a.Rule.Ports, x.port)
	if len(a.Rule.Ports) == 0 {
		l.asides.removeAside(a.Rule.ID)
		return
	}
	a.Rule.Revision++
	l.asides.putAside(a)
}

// retract sets aside what a source alone has taught in the present window, now that it is known to scan. It
// returns the rules that have changed; those without ports are deleted.
func (l *Learner) retract(name string, now int64) []model.Rule {
	list := l.scans.takeRecent(name)
	slices.SortFunc(list, func(a, b taught) int {
		return cmp.Or(a.key.compare(b.key), cmp.Compare(a.port.Proto, b.port.Proto), cmp.Compare(a.port.Lo, b.port.Lo))
	})
	var out []model.Rule
	for _, t := range list {
		r, ok := l.rules.Find(l.index[t.key])
		if !ok || r.Origin != model.Learned || !covers(r.Ports, t.port) {
			continue
		}
		l.setAside(&lesson{key: t.key, port: t.port, source: name}, model.AsideScan, now)
		if r.Ports = without(r.Ports, t.port); len(r.Ports) > 0 {
			out = append(out, l.rules.PutLearned(r))
			continue
		}
		if _, err := l.rules.Delete(r.ID); err == nil {
			l.gone = append(l.gone, r.ID)
			delete(l.index, t.key)
		}
	}
	return out
}
