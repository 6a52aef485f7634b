package policy_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sluicenet/sluice/core/policy"
)

// specOf returns a policy of a version with a history.
func specOf(version uint64, l *policy.Lineage) *policy.Spec {
	return &policy.Spec{Version: version, Lineage: l}
}

// history returns a Lineage of terms, each an id and its first version.
func history(terms ...any) *policy.Lineage {
	l := &policy.Lineage{}
	for i := 0; i < len(terms); i += 2 {
		l.Begin(terms[i].(string), uint64(terms[i+1].(int)))
	}
	return l
}

func TestFollows(t *testing.T) {
	accepted := history("z", 1)
	accepted.Accept(policy.Origin{Term: "b", Version: 20})
	setBack := history("a", 1, "c", 12)
	setBack.Accept(policy.Origin{Term: "b", Version: 20})
	kept := specOf(15, history("a", 1, "b", 10))
	for _, c := range []struct {
		name   string
		next   *policy.Spec
		before *policy.Spec
		want   error
	}{
		{"the same again", specOf(15, history("a", 1, "b", 10)), kept, nil},
		{"the next of its term", specOf(16, history("a", 1, "b", 10)), kept, nil},
		{"of a later term", specOf(40, history("a", 1, "b", 10, "c", 16, "d", 30)), kept, nil},
		{"a lower version of its term", specOf(14, history("a", 1, "b", 10)), kept, policy.ErrOlder},
		{"a snapshot of its term, continued", specOf(17, history("a", 1, "b", 10, "c", 14)), kept, policy.ErrOlder},
		{"a snapshot before its term, continued beyond it", specOf(99, history("a", 1, "c", 9)), kept, policy.ErrOlder},
		{"a snapshot of an earlier term", specOf(9, history("a", 1)), kept, policy.ErrOlder},
		{"an empty store", specOf(1, history("z", 1)), kept, policy.ErrStranger},
		{"an empty store with a higher version", specOf(99, history("z", 1)), kept, policy.ErrStranger},
		{"an empty store, accepted", specOf(16, accepted), kept, nil},
		{"an empty store, accepted, not yet above the version", specOf(15, accepted), kept, policy.ErrStranger},
		{"accepted for an earlier version only", specOf(30, accepted), specOf(21, history("b", 1)), policy.ErrStranger},
		{"a snapshot, accepted", specOf(21, setBack), specOf(20, history("a", 1, "b", 10)), nil},
		{"a policy without history after one with", specOf(99, nil), kept, policy.ErrStranger},
		{"history after a policy without", specOf(16, history("b", 16)), specOf(15, nil), nil},
		{"a lower version after a policy without history", specOf(1, history("b", 1)), specOf(15, nil), policy.ErrOlder},
		{"an empty store after a policy without history, with a higher version", specOf(99, history("b", 1)), specOf(15, nil), policy.ErrOlder},
		{"neither has a history", specOf(16, nil), specOf(15, nil), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.next.Follows(c.before); !errors.Is(got, c.want) || (got == nil) != (c.want == nil) {
				t.Errorf("Follows: %v, want %v", got, c.want)
			}
		})
	}
}

// TestFollowsForever checks that each policy of a store follows all before it, whenever controllers restart.
func TestFollowsForever(t *testing.T) {
	var all []*policy.Spec
	l := &policy.Lineage{}
	version := uint64(0)
	for term := range 40 {
		l.Begin(fmt.Sprint("t", term), version+1)
		for range term % 4 { // some make none
			version++
			all = append(all, specOf(version, l.Clone()))
		}
	}
	for i, s := range all {
		for j, before := range all {
			if err := s.Follows(before); (err == nil) != (i >= j) {
				t.Fatalf("%d follows %d: %v", s.Version, before.Version, err)
			}
		}
	}
}

func TestLineageIsBounded(t *testing.T) {
	l := &policy.Lineage{}
	for i := range uint64(1000) {
		l.Begin(fmt.Sprint("t", i), i+1)
		l.Accept(policy.Origin{Term: fmt.Sprint("u", i), Version: i})
	}
	if len(l.Terms) != 256 || l.Terms[255].ID != "t999" {
		t.Errorf("%d terms, the last %v", len(l.Terms), l.Terms[len(l.Terms)-1])
	}
	if len(l.Accepted) != 64 || l.Accepted[63].Term != "u999" {
		t.Errorf("%d accepted, the last %v", len(l.Accepted), l.Accepted[len(l.Accepted)-1])
	}
}

func TestBeginWithoutVersions(t *testing.T) {
	l := history("a", 1, "b", 5, "c", 5, "d", 5)
	if len(l.Terms) != 2 || l.Terms[1].ID != "d" {
		t.Errorf("terms %v, want a and d", l.Terms)
	}
	c := l.Clone()
	l.Begin("e", 9)
	if len(c.Terms) != 2 {
		t.Errorf("the copy changed: %v", c.Terms)
	}
}

func TestEnforces(t *testing.T) {
	for _, c := range []struct {
		name string
		spec policy.Spec
		want bool
	}{
		{"nothing", policy.Spec{}, false},
		{"discover and monitor", policy.Spec{Workloads: []policy.WorkloadSpec{{}, {Mode: policy.Monitor}}, Newcomers: []policy.NewcomerSpec{{}}}, false},
		{"protect", policy.Spec{Workloads: []policy.WorkloadSpec{{}, {Mode: policy.Protect}}}, true},
		{"quarantined", policy.Spec{Workloads: []policy.WorkloadSpec{{Quarantined: true}}}, true},
		{"new workloads of a group in protect", policy.Spec{Newcomers: []policy.NewcomerSpec{{}, {WorkloadSpec: policy.WorkloadSpec{Mode: policy.Protect}}}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.spec.Enforces(); got != c.want {
				t.Errorf("Enforces: %v, want %v", got, c.want)
			}
		})
	}
}
