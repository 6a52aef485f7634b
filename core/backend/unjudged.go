package backend

// Unjudged counts frames of one endpoint that a backend passed or dropped without a verdict.
type Unjudged struct {
	// Endpoint is the engine's number; 0 where frames of several endpoints cannot be distinguished.
	Endpoint uint32
	Cause    string // one of the constants below
	// Dropped: the frames were not forwarded.
	Dropped       bool
	Frames, Bytes uint64 // Bytes is 0 where they are not counted
}

// Causes of frames without a verdict.
const (
	NoHeartbeat = "heartbeat"  // no worker was running
	RingFull    = "ring_full"  // a packet ring was full
	RingShare   = "ring_share" // a packet ring had no room for more of this endpoint
	Flood       = "flood"      // more packets that begin something than one endpoint may have
	Oversize    = "oversize"   // larger than a slot of the ring
)

// UnjudgedCounter is a backend that counts frames without a verdict outside of its queues. It
// may be called from any goroutine.
type UnjudgedCounter interface {
	// TakeUnjudged returns the counts since the last call, including detached endpoints.
	TakeUnjudged() []Unjudged
}
