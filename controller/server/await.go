package server

import (
	"context"
	"time"

	"github.com/sluicenet/sluice/core/policy"
)

// answerTime is kept back from a caller's deadline, so that it gets an answer and not the deadline.
const answerTime = 200 * time.Millisecond

// longestWait is how long a caller without a deadline waits.
const longestWait = 30 * time.Second

// await waits until every node that has a workload of the groups enforces the policy
// version, and, where they are to be protected, is attached to those workloads inline. It
// reports whether that came about before the caller's deadline.
func (s *Server) await(ctx context.Context, groups map[string]bool, version uint64) bool {
	return s.until(ctx, func() bool { return s.enforced(groups, version) })
}

// until waits until ok, which is called with the lock held, returns true for the agents' state, and reports
// whether that was before the caller's deadline.
func (s *Server) until(ctx context.Context, ok func() bool) bool {
	limit := time.Now().Add(longestWait)
	if d, ok := ctx.Deadline(); ok && d.Add(-answerTime).Before(limit) {
		limit = d.Add(-answerTime)
	}
	timer := time.NewTimer(time.Until(limit))
	defer timer.Stop()
	for {
		s.mu.Lock()
		done, changed := ok(), s.changed
		s.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// notify wakes everyone who waits for agents. The lock is held.
func (s *Server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// enforced reports whether the nodes concerned are as the groups want them. The lock is held.
func (s *book) enforced(groups map[string]bool, version uint64) bool {
	for _, n := range s.dir.nodes {
		for _, m := range n.members {
			if !groups[m.group] {
				continue
			}
			if n.policy < version || n.status.GetHeld() != nil || !s.attachedAs(n, m) {
				return false
			}
		}
	}
	return true
}

// attachedAs reports whether the agent is attached to a workload as its mode wants it.
func (s *book) attachedAs(n *node, m *member) bool {
	g := s.groups[m.group]
	if g == nil || g.Mode != policy.Protect || m.workload.HostNet {
		return true
	}
	for _, i := range m.workload.Interfaces {
		switch n.attached[attachment(m, i.Name)] {
		case "inline", "nfqueue", "inside": // the last is judged where it leaves
		default:
			return false
		}
	}
	return true
}

// attachment is the key of an interface in ReportStatus.
func attachment(m *member, iface string) string { return m.workload.Id + "/" + iface }
