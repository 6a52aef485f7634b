package counter

// LostRecords is the name of the family of lost records.
const LostRecords = "records_lost"

// TrafficID is a family of values by workload, interface and backend.
type TrafficID uint8

// Families by workload, interface and backend.
const (
	EndpointFrames TrafficID = iota
	EndpointBytes
	Verdicts
	Drops
	Bypassed
	EndpointHeld
	EndpointOpened
	EndpointSessions
	EndpointEvicted
	QueueDepth
	QueueFill
	Queues
	QueueReceived
	QueueSent
	trafficLen
)

var (
	byEndpoint = []string{"workload", "interface", "backend"}
	byDir      = []string{"workload", "interface", "backend", "direction"}
	byVerdict  = []string{"workload", "interface", "backend", "verdict"}
	byCause    = []string{"workload", "interface", "backend", "cause"}
)

// Traffic is the table of these families.
var Traffic = [trafficLen]Def{
	EndpointFrames:   {Name: "frames", Labels: byDir, Help: "Frames that the engine received, by direction of the workload. The backend \"sockets\" counts the packets of TCP connections."},
	EndpointBytes:    {Name: "bytes", Labels: byDir, Help: "Bytes of these frames, with their link headers."},
	Verdicts:         {Name: "verdicts", Labels: byVerdict, Help: "Verdicts given to sessions: one each time the verdict of a session changes, because its application became known or a new policy came."},
	Drops:            {Name: "drops", Labels: byCause, Help: "Frames that were not forwarded, or not seen by a tap, by cause. The workload is empty where all workloads of a backend share a queue."},
	Bypassed:         {Name: "bypassed", Labels: byCause, Help: "Frames that passed without a verdict because the group fails open, by cause."},
	EndpointHeld:     {Name: "held_frames", Labels: byEndpoint, Help: "Frames that waited for the verdict of their session."},
	EndpointOpened:   {Name: "sessions_opened", Labels: byEndpoint, Help: "Sessions that began or were picked up in mid-stream: TCP connections, and conversations of other protocols."},
	EndpointSessions: {Name: "sessions", Labels: byEndpoint, Kind: Gauge, Help: "Sessions tracked now."},
	EndpointEvicted:  {Name: "sessions_evicted", Labels: byEndpoint, Help: "Sessions that ended early, because the workload had its share of the session table and others of it began."},
	QueueDepth:       {Name: "queue_depth", Labels: byEndpoint, Kind: Gauge, Help: "Frames in the kernel that wait for the engine or its verdict; an estimate."},
	QueueFill:        {Name: "queue_fill_ratio", Labels: byEndpoint, Kind: Gauge, Help: "Fill level of the fullest of these queues, 0 to 1; an estimate."},
	Queues:           {Name: "queues", Labels: byEndpoint, Kind: Gauge, Help: "Open packet rings and netfilter queues."},
	QueueReceived:    {Name: "queue_frames_received", Labels: byEndpoint, Help: "Frames that the engine received from these queues."},
	QueueSent:        {Name: "queue_frames_sent", Labels: byEndpoint, Help: "Frames that were passed on, including the engine's own."},
}
