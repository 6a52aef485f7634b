// Package report carries what the engine observes to its collector: an outbox for each
// worker, and the records of threats. Aggregation is the agent's business; what is lost
// on the way is counted.
package report

import "github.com/sluicenet/sluice/core/packet"

// Threat is one threat seen on an endpoint.
type Threat struct {
	ID       uint16
	Endpoint uint32
	Session  uint64 // 0 where none
	Stamp    int64
	Src, Dst packet.Addr
	SrcPort  uint16
	DstPort  uint16
	Proto    uint8
	IPv6     bool
	Text     string
	// Frame is the packet that showed it, from its IP header on, cut at 256 bytes; of what a plugin
	// found, the last packet that the plugin was given. nil where neither is left.
	Frame []byte
}
