package model

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Ids of rules are not reused. Those of user rules count from 1 to 10000 and, when they are
// spent, from 1<<30 on; learned ones count from 10001.
const (
	FirstUserID    = 1
	LastUserID     = 10000
	FirstLearnedID = 10001
	moreUserIDs    = 1 << 30
)

// ErrNoRule is the cause where a rule is spoken of that does not exist.
var ErrNoRule = errors.New("no such rule")

// Order is what is to be stored beside the rules themselves.
type Order struct {
	User        []uint32 `json:"user"` // ids of user and imported rules, in their order
	NextUser    uint32   `json:"next_user"`
	NextLearned uint32   `json:"next_learned"`
}

// Rules is the one ordered list: user and imported rules in the order that users gave them, then
// learned ones by id. It is not safe for concurrent use.
type Rules struct {
	user, learned []Rule // learned by id
	next          Order  // its User is not used
}

// NewRules puts stored rules in order. Rules that the order does not know stand after those that
// it does, by id; so rules survive an order that was lost.
func NewRules(stored []Rule, o Order) *Rules {
	place := make(map[uint32]int, len(o.User))
	for i, id := range o.User {
		place[id] = i
	}
	rs := &Rules{next: Order{NextUser: max(o.NextUser, FirstUserID), NextLearned: max(o.NextLearned, FirstLearnedID)}}
	for _, r := range stored {
		if r.Origin == Learned {
			rs.learned = append(rs.learned, r)
			rs.next.NextLearned = max(rs.next.NextLearned, r.ID+1)
			continue
		}
		rs.user = append(rs.user, r)
		rs.next.NextUser = max(rs.next.NextUser, r.ID+1)
	}
	at := func(id uint32) int {
		if i, ok := place[id]; ok {
			return i
		}
		return len(place)
	}
	slices.SortFunc(rs.user, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(at(a.ID), at(b.ID)), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(rs.learned, byID)
	return rs
}

func byID(a, b Rule) int { return cmp.Compare(a.ID, b.ID) }

// All is a copy of the list, in order of evaluation.
func (rs *Rules) All() []Rule { return slices.Concat(rs.user, rs.learned) }

// Len is how many rules there are.
func (rs *Rules) Len() int { return len(rs.user) + len(rs.learned) }

// Order is what is to be stored beside the rules.
func (rs *Rules) Order() Order {
	o := rs.next
	o.User = make([]uint32, len(rs.user))
	for i, r := range rs.user {
		o.User[i] = r.ID
	}
	return o
}

// Find is the rule with an id.
func (rs *Rules) Find(id uint32) (Rule, bool) {
	if i, ok := slices.BinarySearchFunc(rs.learned, Rule{ID: id}, byID); ok {
		return rs.learned[i], true
	}
	if i := rs.userAt(id); i >= 0 {
		return rs.user[i], true
	}
	return Rule{}, false
}

func (rs *Rules) userAt(id uint32) int {
	return slices.IndexFunc(rs.user, func(r Rule) bool { return r.ID == id })
}

// Add checks a user or imported rule, gives it an id and puts it before another user rule,
// or last of them where before is 0.
func (rs *Rules) Add(r Rule, before uint32) (Rule, error) {
	r.Ports = r.Ports.Normal()
	if err := r.Validate(); err != nil {
		return Rule{}, err
	}
	if r.Origin == Learned {
		return Rule{}, fmt.Errorf("rule: a user rule has the origin user or imported, not %s", r.Origin)
	}
	at := len(rs.user)
	if before != 0 {
		if at = rs.userAt(before); at < 0 {
			return Rule{}, fmt.Errorf("rule %d to precede is not a user rule: %w", before, ErrNoRule)
		}
	}
	if rs.next.NextUser > LastUserID && rs.next.NextUser < moreUserIDs {
		rs.next.NextUser = moreUserIDs
	}
	r.ID = rs.next.NextUser
	rs.next.NextUser++
	rs.user = slices.Insert(rs.user, at, r)
	return r, nil
}

// Replace checks a user or imported rule and puts it in the place of the one with its id, or
// before another one.
func (rs *Rules) Replace(r Rule, before uint32) (Rule, error) {
	r.Ports = r.Ports.Normal()
	if err := r.Validate(); err != nil {
		return Rule{}, err
	}
	at := rs.userAt(r.ID)
	switch {
	case r.Origin == Learned:
		return Rule{}, fmt.Errorf("rule: user rules have the origin user or imported, not %s", r.Origin)
	case at < 0:
		return Rule{}, fmt.Errorf("rule %d is not a user rule: %w: `sluice rules` lists those that exist", r.ID, ErrNoRule)
	case before != 0 && before != r.ID && rs.userAt(before) < 0:
		return Rule{}, fmt.Errorf("rule %d to precede is not a user rule: %w", before, ErrNoRule)
	}
	rs.user[at] = r
	if before != 0 && before != r.ID {
		rs.user = slices.Delete(rs.user, at, at+1)
		rs.user = slices.Insert(rs.user, rs.userAt(before), r)
	}
	return r, nil
}

// PutLearned adds a learned rule, giving it an id where it has none, or replaces the one with
// its id.
func (rs *Rules) PutLearned(r Rule) Rule {
	r.Origin = Learned
	if r.ID == 0 {
		r.ID = rs.next.NextLearned
	}
	rs.next.NextLearned = max(rs.next.NextLearned, r.ID+1)
	i, ok := slices.BinarySearchFunc(rs.learned, r, byID)
	if ok {
		rs.learned[i] = r
	} else {
		rs.learned = slices.Insert(rs.learned, i, r)
	}
	return r
}

// LearnedRules is a copy of the learned rules, by id.
func (rs *Rules) LearnedRules() []Rule { return slices.Clone(rs.learned) }

// Delete takes a rule out and gives it back. Its id is not given again.
func (rs *Rules) Delete(id uint32) (Rule, error) {
	if i, ok := slices.BinarySearchFunc(rs.learned, Rule{ID: id}, byID); ok {
		r := rs.learned[i]
		rs.learned = slices.Delete(rs.learned, i, i+1)
		return r, nil
	}
	if i := rs.userAt(id); i >= 0 {
		r := rs.user[i]
		rs.user = slices.Delete(rs.user, i, i+1)
		return r, nil
	}
	return Rule{}, fmt.Errorf("rule %d: %w: `sluice rules` lists those that exist", id, ErrNoRule)
}
