package main

import (
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/vocab"
)

// agentAway is how long an agent, which reports every two seconds, may be silent.
const agentAway = 10 * time.Second

// away reports whether an agent has been silent for too long.
func away(n *controlv1.NodeStatus, now time.Time) bool {
	return n.LastSeen == 0 || now.Sub(time.Unix(0, n.LastSeen)) > agentAway
}

// collectController sends a controller's metrics; those of the cluster come from the leader.
func (o *observed) collectController(s sink) {
	st := o.control()
	s.yes(mLeading, st != nil)
	if o.controllers != nil {
		n := map[string]int{}
		for p := controlv1.ControllerPhase_CONTROLLER_PHASE_LEADER; p <= controlv1.ControllerPhase_CONTROLLER_PHASE_REFUSED; p++ {
			n[vocab.Text(p)] = 0
		}
		for _, c := range o.controllers() {
			n[vocab.Text(c.Phase)]++
		}
		for state, n := range n {
			s.gauge(mControllers, float64(n), state)
		}
	}
	if st == nil {
		return
	}
	s.gauge(mPolicy, float64(st.Policy), "compiled")
	s.gauge(mKnown, float64(st.Workloads))
	s.gauge(mGroups, float64(st.Groups))
	s.gauge(mRules, float64(st.Rules))
	s.gauge(mEdges, float64(st.Connections))
	s.count(mGraphed, st.Sessions)
	s.count(mViolations, st.Violations)
	s.count(mThreats, st.Threats)
	s.count(mUnjudgedAll, st.Unjudged)
	s.gauge(mJournal, float64(st.Backlog))
	s.causes(mGraphLost, st.Dropped)
	up := 0
	for _, n := range st.Nodes {
		there := !away(n, o.now())
		if there {
			up++
		}
		s.yes(mAgentUp, there, n.Node)
		s.gauge(mRivals, float64(len(n.Rivals)), n.Node)
		s.gauge(mAgentSeen, stampSeconds(n.LastSeen), n.Node)
		s.gauge(mAgentPolicy, float64(n.Wanted), n.Node, "wanted")
		s.gauge(mAgentPolicy, float64(n.Policy), n.Node, "enforced")
	}
	s.gauge(mAgents, float64(up), "connected")
	s.gauge(mAgents, float64(len(st.Nodes)-up), "away")
}
