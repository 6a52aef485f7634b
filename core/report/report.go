// Package report carries the engine's observations to their collector: an outbox for each
// worker, and threat records. The agent aggregates them; lost ones are counted.
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
	// Frame is the packet that showed it, from its IP header on, cut at 256 bytes; for a
	// plugin's finding, the last packet passed to the plugin. nil where it is unavailable.
	Frame []byte
}
