// Package session is a worker's memory of connections: canonical keys, a bounded
// table whose sessions lie off the garbage collector's path, timers, and the TCP
// tracker. A Table belongs to one worker and takes no lock. It decides
// nothing about a connection, keeps no payload (core/stream does) and writes no
// records (core/engine does).
package session

import (
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// Session is one connection, or one conversation of a protocol without
// connections. It holds no pointers, so that chunks of sessions are nothing to
// the garbage collector. Arrays of two are indexed by direction: 0 is client to server, 1 back.
type Session struct {
	// Key is written by Insert and Import alone.
	Key Key
	// ClientIsA says which end of the key is the client. Change it through SwapClient.
	ClientIsA bool
	// Dir is Egress where the endpoint's workload is the client.
	Dir packet.Direction
	// State is written by Track; the engine may write it when it ends a session itself.
	State flow.Phase
	// Evidence is how it is known which end is the client.
	Evidence flow.Evidence
	// ID is unique in the life of an engine.
	ID uint64
	// Created and Last are the stamps of the first and the last packet, ns since the epoch.
	Created, Last int64
	// Packets and Bytes are totals.
	Packets, Bytes [2]uint64
	// Generation is the version of the policy that judged the session.
	Generation uint64
	// Rule is the rule that decided; 0 for a default.
	Rule uint32
	// Aux is the engine's index of heap objects that belong to the session; 0 is none.
	Aux uint32
	// Flags are what is known of the connection, Marks what was done with it.
	Flags Flags
	Marks Marks
	// App and Base are app.IDs.
	App, Base uint16
	// Strength holds a parsers.Match.
	Strength uint8
	// Verdict and Reason are policy's last answer.
	Verdict flow.Verdict
	Reason  flow.Reason

	slot            uint8 // where the timer wheel holds it: level<<6 | slot
	reportedPackets [2]uint32
	reportedBytes   [2]uint64
	wings           [2]wing

	ref        uint32 // index in the table + 1; 0 while free
	deadline   uint32 // tick
	next, prev uint32 // refs in the wheel's slot; next is also the free list
	epNext     uint32 // refs in the endpoint's list
	epPrev     uint32
}

// DirOf is the direction of a packet: swapped is what KeyOf said of it.
func (s *Session) DirOf(swapped bool) int {
	if s.ClientIsA != swapped {
		return 0
	}
	return 1
}

// Count adds a packet of n bytes (from the IP header on) in direction dir, and moves Last.
func (s *Session) Count(dir, n int, now int64) {
	s.Packets[dir&1]++
	s.Bytes[dir&1] += uint64(n)
	s.Last = now
}

// Unreported is what was counted since MarkReported.
func (s *Session) Unreported() (packets, bytes [2]uint64) {
	for d := range packets {
		// Fewer than 2^32 packets come between two records, so the lower half is enough.
		packets[d] = uint64(uint32(s.Packets[d]) - s.reportedPackets[d])
		bytes[d] = s.Bytes[d] - s.reportedBytes[d]
	}
	return packets, bytes
}

// MarkReported says that everything counted so far is in a record.
func (s *Session) MarkReported() {
	for d := range s.reportedBytes {
		s.reportedPackets[d] = uint32(s.Packets[d])
		s.reportedBytes[d] = s.Bytes[d]
	}
}

// Client is the client's address and port.
func (s *Session) Client() (packet.Addr, uint16) {
	if s.ClientIsA {
		return s.Key.A, s.Key.APort
	}
	return s.Key.B, s.Key.BPort
}

// Server is the server's address and port.
func (s *Session) Server() (packet.Addr, uint16) {
	if s.ClientIsA {
		return s.Key.B, s.Key.BPort
	}
	return s.Key.A, s.Key.APort
}

// SwapClient turns client and server round: counters, wings and Dir go with it.
func (s *Session) SwapClient() {
	s.ClientIsA = !s.ClientIsA
	s.Dir = s.Dir.Reverse()
	s.Packets[0], s.Packets[1] = s.Packets[1], s.Packets[0]
	s.Bytes[0], s.Bytes[1] = s.Bytes[1], s.Bytes[0]
	s.reportedPackets[0], s.reportedPackets[1] = s.reportedPackets[1], s.reportedPackets[0]
	s.reportedBytes[0], s.reportedBytes[1] = s.reportedBytes[1], s.reportedBytes[0]
	s.wings[0], s.wings[1] = s.wings[1], s.wings[0]
}
