package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicenet/sluice/core/counter"
)

// family is one metric with its description.
type family struct {
	counter.Def
	desc *prometheus.Desc
}

// familySet are the families of one kind of process, in the order of docs/metrics.md.
type familySet struct{ list []*family }

// add adds a family; labels are given in this order.
func (s *familySet) add(d counter.Def) *family {
	f := &family{d, prometheus.NewDesc(d.Metric(), d.Help, d.Labels, nil)}
	s.list = append(s.list, f)
	return f
}

func (s *familySet) traffic(id counter.TrafficID) *family { return s.add(counter.Traffic[id]) }

func (s *familySet) total(name, help string, labels ...string) *family {
	return s.add(counter.Def{Name: name, Help: help, Labels: labels})
}

func (s *familySet) gauge(name, help string, labels ...string) *family {
	return s.add(counter.Def{Name: name, Help: help, Labels: labels, Kind: counter.Gauge})
}

// The families of every process, of agents and of controllers; filled by the declarations below.
var ofProcess, ofAgent, ofController familySet

// Labels that many have in common.
const (
	lWorkload = "workload"
	lCause    = "cause"
	lPlugin   = "plugin"
	lNode     = "node"
	lKind     = "kind"
	lState    = "state"
)

// The metrics of every process.
var (
	mBuild         = ofProcess.gauge("build_info", "Version of sluice and of the Go that built it; always 1.", "version", "goversion")
	mStoreUp       = ofProcess.gauge("store_up", "1 if the store answered the last check, a few seconds ago at most.")
	mStoreRevision = ofProcess.gauge("store_revision", "Revision of the last change in the store.")
	mStoreInfo     = ofProcess.gauge("store_info", "Kind and address of the store, and the leader of its own servers if it has any; always 1.", "store", "leader")
	mPolicy        = ofProcess.gauge("policy_version", "Version of the policy: compiled by the controller, wanted of this agent, enforced by this agent.", lKind)
)

// The metrics of an agent.
var (
	mFrames    = ofAgent.traffic(counter.EndpointFrames)
	mBytes     = ofAgent.traffic(counter.EndpointBytes)
	mVerdicts  = ofAgent.traffic(counter.Verdicts)
	mDrops     = ofAgent.traffic(counter.Drops)
	mBypassed  = ofAgent.traffic(counter.Bypassed)
	mHeld      = ofAgent.traffic(counter.EndpointHeld)
	mOpened    = ofAgent.traffic(counter.EndpointOpened)
	mSessions  = ofAgent.traffic(counter.EndpointSessions)
	mEvicted   = ofAgent.traffic(counter.EndpointEvicted)
	mDepth     = ofAgent.traffic(counter.QueueDepth)
	mFill      = ofAgent.traffic(counter.QueueFill)
	mQueues    = ofAgent.traffic(counter.Queues)
	mReceived  = ofAgent.traffic(counter.QueueReceived)
	mSent      = ofAgent.traffic(counter.QueueSent)
	mOutcomes  = ofAgent.total("outcomes", "Connections that ended, by what became of them on the network: closed, reset, refused by the peer, unanswered, denied by policy.", lWorkload, "outcome")
	mUnjudged  = ofAgent.total("unjudged_frames", "Frames that went by without a verdict of policy, or with dropped=true were dropped without one, by cause. Alarm on any increase.", lWorkload, "backend", lCause, "dropped")
	mWorkload  = ofAgent.gauge("workload_info", "A workload of this node: its id, group, mode and source; always 1.", lWorkload, "id", "group", "mode", "source")
	mWorkloads = ofAgent.gauge("agent_workloads", "Workloads of this node.")
	mUnfit     = ofAgent.gauge("agent_attach_errors", "Workloads that could not be attached as configured.")

	mPluginUp       = ofAgent.gauge("plugin_up", "1 if the plugin's process runs and answers.", lPlugin)
	mPluginInfo     = ofAgent.gauge("plugin_info", "A plugin: its file, account, state, and why it stopped last; always 1.", lPlugin, "path", "user", lState, "last_error")
	mPluginRestarts = ofAgent.total("plugin_restarts", "Restarts of the plugin.", lPlugin)
	mPluginPanics   = ofAgent.total("plugin_panics", "Panics of the plugin's parsers and of its process.", lPlugin)
	mPluginItems    = ofAgent.total("plugin_items", "Pieces of payload and other items sent to the plugin.", lPlugin)
	mPluginApps     = ofAgent.gauge("plugin_protocols", "Protocols that the plugin identifies.", lPlugin)
	mPluginStart    = ofAgent.gauge("plugin_start_time_seconds", "Start of the plugin's process, seconds since the epoch; 0 while it does not run.", lPlugin)
	mPluginWait     = ofAgent.total("plugin_wait_seconds", "Sum of the times between a message to a plugin and its answer.")
	mPluginWaitMax  = ofAgent.gauge("plugin_wait_seconds_max", "Longest time between a message to a plugin and its answer.")

	mReady      = ofAgent.gauge("agent_ready", "1 once all initially discovered workloads are attached.")
	mAnswers    = ofAgent.gauge("controller_up", "1 if a controller acknowledged the last status report of this agent.")
	mLink       = ofAgent.gauge("controller_link_info", "Address of the controller in use, empty in a standalone process; always 1.", "address")
	mLastReport = ofAgent.gauge("last_report_timestamp_seconds", "Time of the last report that a controller acknowledged, seconds since the epoch.")
	mBacklog    = ofAgent.gauge("uplink_backlog", "Sessions, kinds of connection and threats that wait to be reported.")
	mUplinkSent = ofAgent.total("uplink_sent", "Reported connections that a controller acknowledged.")
	mRetries    = ofAgent.total("uplink_retries", "Reports that were not acknowledged and sent again.")
	mLost       = ofAgent.total(counter.LostRecords, "Records of connections and threats lost before they were reported, by cause.", lCause)
)

// The metrics of a controller.
var (
	mLeading     = ofController.gauge("controller_leading", "1 if this controller is the leader. Only the leader has the metrics of the cluster that follow.")
	mControllers = ofController.gauge("controllers", "Controllers of this store, by state.", lState)
	mAgents      = ofController.gauge("agents", "Known agents: connected if they reported within 10 s, else away.", lState)
	mAgentUp     = ofController.gauge("agent_up", "1 if the agent of the node reported within 10 s.", lNode)
	mAgentSeen   = ofController.gauge("agent_last_report_timestamp_seconds", "Time of the last report of the node's agent, seconds since the epoch.", lNode)
	mAgentPolicy = ofController.gauge("agent_policy_version", "Version of the policy of the node's agent: wanted and enforced.", lNode, lKind)
	mKnown       = ofController.gauge("workloads", "Workloads of all nodes.")
	mGroups      = ofController.gauge("groups", "Groups.")
	mRules       = ofController.gauge("rules", "Rules, learned ones included.")
	mEdges       = ofController.gauge("edges", "Kinds of connection in the graph.")
	mGraphed     = ofController.total("reported_sessions", "Connections that agents reported.")
	mViolations  = ofController.total("violations", "Connections that policy refused or would refuse, as agents reported them.")
	mThreats     = ofController.total("threats", "Threats that agents reported.")
	mUnjudgedAll = ofController.total("reported_unjudged_frames", "Frames that went by without a verdict of policy, as agents reported them.")
	mRivals      = ofController.gauge("agent_rivals", "Other agents that were refused the name of the node lately: cloned machines or copied certificates.", lNode)
	mGraphLost   = ofController.total("reported_losses", "Records that agents or the controller lost, by cause.", lCause)
	mJournal     = ofController.gauge("journal_reports", "Reports in the store that are not yet in the stored graph.")
)
