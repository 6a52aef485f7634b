package counter

// sums are the counters, other than a worker's own, that are summed over everything on a
// node.
var sums = []Def{
	{Name: "engine.reports_lost", In: LostRecords, Cause: "outbox_full", Hidden: true, Help: "Records and threats lost because the engine's outbox was full."},

	{Name: "ring.received", In: "queue_frames_received", Hidden: true, Help: "Frames received from packet rings and netfilter queues."},
	{Name: "ring.sent", In: "queue_frames_sent", Hidden: true, Help: "Frames passed on, including the engine's own."},
	{Name: "ring.dropped", In: "drops", Cause: "ring_full, socket_full, queue_full", Hidden: true, Help: "Frames that the kernel lost because a ring or queue was full: not seen on a tap, lost inline."},
	{Name: "ring.bypassed", In: "bypassed", Cause: "socket_full", Hidden: true, Help: "Packets that passed without a verdict because a netfilter queue was full and its group fails open."},
	{Name: "ring.send_dropped", In: "drops", Cause: "send_failed", Hidden: true, Help: "Frames that could not be sent on."},
	{Name: "ring.oversize", In: "drops", Cause: "oversize", Hidden: true, Help: "Frames larger than a slot of a ring."},

	{Name: "steering.steered", Help: "Frames sent to the service port by the BPF programs at the workloads' interfaces."},
	{Name: "steering.returned", Help: "Frames that came back from the service port and were forwarded."},
	{Name: "steering.bypassed", In: "bypassed", Cause: "no_heartbeat", Help: "Frames that passed without a verdict because no worker was running and their group fails open."},
	{Name: "steering.stopped", In: "drops", Cause: "no_heartbeat", Help: "Frames dropped because no worker was running and their group fails closed."},
	{Name: "steering.spoofed", In: "drops", Cause: "forged", Help: "Frames dropped because their own MAC address looked like a tag of the service port."},
	{Name: "steering.forged", In: "drops", Cause: "forged", Help: "Frames dropped because a MAC address looked like a tag of the service port."},
	{Name: "steering.unknown", In: "drops", Cause: "unknown", Help: "Frames dropped because they came back from the service port for an endpoint that is gone."},

	{Name: "repairs.port", Help: "Repairs of the service port after another program had changed it."},
	{Name: "repairs.program", Help: "Repairs of the BPF programs at workloads' interfaces after another program had removed them or put its own before them."},
	{Name: "repairs.map", Help: "Repairs of entries of BPF maps after another program had changed them."},
	{Name: "repairs.hook", Help: "Interfaces attached again because the host's end had left its namespace."},
	{Name: "repairs.rules", Help: "Repairs of the rules of netfilter queues after another program had changed them."},

	{Name: "plugin.running", Kind: Gauge, In: "plugin_up", Hidden: true, Help: "Plugins that run."},
	{Name: "plugin.restarts", In: "plugin_restarts", Hidden: true, Help: "Restarts of plugins."},
	{Name: "plugin.hung", Help: "Plugins stopped because they did not answer in time."},
	{Name: "plugin.protocol_violations", Help: "Plugins stopped because of a protocol violation."},
	{Name: "plugin.failed", Help: "Plugins that failed to start, or too often, and are tried again slowly."},
	{Name: "plugin.panics", In: "plugin_panics", Hidden: true, Help: "Panics of plugins' parsers and processes."},
	{Name: "plugin.sessions", Help: "Sessions that plugins were asked about."},
	{Name: "plugin.lost_sessions", Help: "Sessions that became unknown because a plugin ended before it answered."},
	{Name: "plugin.refused_sessions", Help: "Sessions not offered to a plugin because it was overloaded or not running."},
	{Name: "plugin.messages", Help: "Messages sent to plugins."},
	{Name: "plugin.items", In: "plugin_items", Hidden: true, Help: "Pieces of payload and other items sent to plugins."},
	{Name: "plugin.bytes", Help: "Bytes sent to plugins."},
	{Name: "plugin.answers", Help: "Messages that plugins answered."},
	{Name: "plugin.latency_us_sum", In: "plugin_wait_seconds", Hidden: true, Help: "Sum of the times between a message to a plugin and its answer, in microseconds."},
	{Name: "plugin.latency_us_max", Kind: Gauge, In: "plugin_wait_seconds_max", Hidden: true, Help: "Longest time between a message to a plugin and its answer, in microseconds."},

	{Name: "hostmode.sessions", Help: "Connections reported of workloads in the host's network."},
	{Name: "hostmode.open", Kind: Gauge, Help: "Connections in the host's network that are tracked now."},
	{Name: "hostmode.local", Help: "Connections over loopback in the host's network. They are not reported."},
	{Name: "hostmode.unowned", Help: "Connections in the host's network that belong to no workload. They are not reported."},
	{Name: "hostmode.table_full", Help: "Connections in the host's network for which the table had no room."},
	{Name: "hostmode.records_dropped", In: LostRecords, Cause: "sockets_full", Hidden: true, Help: "Records of workloads in the host's network lost because too many waited."},
	{Name: "hostmode.events_lost", Help: "Socket events that the kernel lost because their buffer was full."},
	{Name: "hostmode.missed", Kind: Gauge, Help: "TCP connections that the kernel counted in the host's network and that were not seen."},
	{Name: "hostmode.lists", Help: "Listings of the host's sockets."},
	{Name: "hostmode.lists_failed", Help: "Listings of the host's sockets that failed."},
	{Name: "hostmode.namespaces", Kind: Gauge, Help: "Network namespaces whose sockets are watched."},
	{Name: "hostmode.traced", Kind: Gauge, Help: "Of these, namespaces whose socket events are traced."},

	{Name: "uplink.records", Hidden: true, Help: "Records that the uplink took from the engine."},
	{Name: "uplink.sent", In: "uplink_sent", Hidden: true, Help: "Connections that a controller acknowledged."},
	{Name: "uplink.requests", Hidden: true, Help: "Reports that a controller acknowledged."},
	{Name: "uplink.retries", In: "uplink_retries", Hidden: true, Help: "Reports that were not acknowledged and sent again."},
	{Name: "uplink.dropped", In: LostRecords, Cause: "uplink_full, threats_full, unjudged_full, unknown_endpoint", Hidden: true, Help: "Records that the uplink lost."},
}
