package main

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metric describes one metric; labels are given in this order.
func metric(n, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("sluice_"+n, help, labels, nil)
}

// Labels that many have in common.
const (
	lWorkload  = "workload"
	lInterface = "interface"
	lBackend   = "backend"
	lCause     = "cause"
	lPlugin    = "plugin"
	lNode      = "node"
	lKind      = "kind"
	lState     = "state"
)

// The metrics of every process.
var (
	mBuild         = metric("build_info", "Version of this program and of the Go that built it; always 1.", "version", "goversion")
	mStoreUp       = metric("store_up", "Whether the store answered when it was last asked, a few seconds ago at most.")
	mStoreRevision = metric("store_revision", "Revision of the store's last change.")
	mStoreInfo     = metric("store_info", "Kind and place of the store, and which of its own servers leads, if it has any; always 1.", "store", "leader")
	mPolicy        = metric("policy_version", "Version of the policy: compiled by the controller, wanted of this agent, enforced by it.", lKind)
)

// The metrics of an agent.
var (
	mFrames    = metric("frames_total", "Frames that the engine saw, by direction as the workload sees it. A backend named sockets counts the packets of TCP connections.", lWorkload, lInterface, lBackend, "direction")
	mBytes     = metric("bytes_total", "Bytes of these frames, with their link headers.", lWorkload, lInterface, lBackend, "direction")
	mVerdicts  = metric("verdicts_total", "Verdicts given to connections: one each time a connection gets another, be it by its application or a new policy.", lWorkload, lInterface, lBackend, "verdict")
	mDrops     = metric("drops_total", "Frames that did not go on, or copies that were not seen, by cause. Without a workload: lost where all workloads of a backend share a queue.", lWorkload, lInterface, lBackend, lCause)
	mBypassed  = metric("bypassed_total", "Frames that went on unjudged because the group fails open, by cause.", lWorkload, lInterface, lBackend, lCause)
	mHeld      = metric("held_frames_total", "Frames that waited for their connection's verdict.", lWorkload, lInterface, lBackend)
	mOpened    = metric("sessions_opened_total", "Connections, and conversations of protocols without them, that began or were picked up.", lWorkload, lInterface, lBackend)
	mSessions  = metric("sessions", "Connections and conversations that are tracked now.", lWorkload, lInterface, lBackend)
	mWorkload  = metric("workload_info", "A workload of this machine: its id, group and mode; always 1.", lWorkload, "id", "group", "mode", "source")
	mWorkloads = metric("agent_workloads", "Workloads of this machine.")
	mUnfit     = metric("agent_attach_errors", "Workloads that are not attached as they should be.")

	mDepth    = metric("queue_depth", "Frames that wait in the kernel for the engine or its verdict.", lWorkload, lInterface, lBackend)
	mFill     = metric("queue_fill_ratio", "How full the fullest of these queues is, 0 to 1.", lWorkload, lInterface, lBackend)
	mQueues   = metric("queues", "Packet rings and netfilter queues that are open.", lWorkload, lInterface, lBackend)
	mReceived = metric("queue_frames_received_total", "Frames that the engine took out of these queues.", lWorkload, lInterface, lBackend)
	mSent     = metric("queue_frames_sent_total", "Frames that were passed on, the engine's own among them.", lWorkload, lInterface, lBackend)

	mPluginUp       = metric("plugin_up", "Whether the plugin's process runs and answers.", lPlugin)
	mPluginInfo     = metric("plugin_info", "A plugin: its file, account, state and why it stopped last; always 1.", lPlugin, "path", "user", lState, "last_error")
	mPluginRestarts = metric("plugin_restarts_total", "How often the plugin was started again.", lPlugin)
	mPluginPanics   = metric("plugin_panics_total", "Panics of the plugin's parsers and of its process.", lPlugin)
	mPluginItems    = metric("plugin_items_total", "Pieces of payload and other records that the plugin was given.", lPlugin)
	mPluginApps     = metric("plugin_protocols", "Protocols that the plugin recognises.", lPlugin)
	mPluginStart    = metric("plugin_start_time_seconds", "When the plugin's process began, seconds since the epoch; 0 while it does not run.", lPlugin)
	mPluginWait     = metric("plugin_wait_seconds_total", "Time between giving plugins something and their answer, all added up.")
	mPluginWaitMax  = metric("plugin_wait_seconds_max", "The longest time that a plugin took to answer.")

	mReady      = metric("agent_ready", "Whether every workload that there was at the beginning has been dealt with.")
	mAnswers    = metric("controller_up", "Whether a controller took this agent's last status report.")
	mLink       = metric("controller_link_info", "Address of the controller in use, empty in one process; always 1.", "address")
	mLastReport = metric("last_report_timestamp_seconds", "When a controller took something of this agent last, seconds since the epoch.")
	mBacklog    = metric("uplink_backlog", "Sessions, kinds of connection and threats that wait to be reported.")
	mUplinkSent = metric("uplink_sent_total", "Reported connections that a controller has taken.")
	mRetries    = metric("uplink_retries_total", "Reports that were not taken and tried again.")
	mLost       = metric("records_lost_total", "Records of connections that were lost before they could be reported, by cause.", lCause)
)

// The metrics of a controller.
var (
	mLeading     = metric("controller_leading", "Whether this controller leads; the other metrics of controllers come from the one that does.")
	mControllers = metric("controllers", "Controllers of this store, by state.", lState)
	mAgents      = metric("agents", "Agents that are known, by whether they reported within 10 s.", lState)
	mAgentUp     = metric("agent_up", "Whether the agent of a node reported within 10 s.", lNode)
	mAgentSeen   = metric("agent_last_report_timestamp_seconds", "When the agent of a node reported last, seconds since the epoch.", lNode)
	mAgentPolicy = metric("agent_policy_version", "Version of the policy of a node: wanted and enforced.", lNode, lKind)
	mKnown       = metric("workloads", "Workloads of all nodes.")
	mGroups      = metric("groups", "Groups that there are.")
	mRules       = metric("rules", "Rules that there are.")
	mEdges       = metric("edges", "Kinds of connection that the graph holds.")
	mGraphed     = metric("reported_sessions_total", "Connections that agents reported.")
	mViolations  = metric("violations_total", "Violations that agents reported, refused ones among them.")
	mGraphLost   = metric("reported_losses_total", "Records that agents or the controller lost, by cause.", lCause)
	mJournal     = metric("journal_reports", "Reports that are in the store and not in the stored graph yet.")
)
