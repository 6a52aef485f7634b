// Package session is the connection table of a worker: canonical keys, a bounded table whose
// sessions the garbage collector does not scan, timers, and the TCP tracker. A Table belongs
// to one worker and takes no lock. It decides nothing about a connection, stores no payload
// (core/stream does) and writes no records (core/engine does).
package session

import (
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// Session is one connection, or one conversation of a connectionless protocol. It holds no
// pointers, so that the garbage collector skips chunks of sessions. Arrays of two are indexed
// by direction: 0 is client to server, 1 server to client.
type Session struct {
	// Key is written by Insert and Import alone.
	Key Key
	// ClientIsA is true if end A of the key is the client. Change it through SwapClient.
	ClientIsA bool
	// Dir is Egress where the workload is the client.
	Dir packet.Direction
	// State is written by Track; the engine writes it when it ends a session itself.
	State flow.Phase
	// Evidence is the reason for considering that end the client.
	Evidence flow.Evidence
	// ID is unique in one run of an engine.
	ID uint64
	// Created and Last are the stamps of the first and the last packet, ns since the epoch.
	Created, Last int64
	// Packets and Bytes are totals.
	Packets, Bytes [2]uint64
	// Generation is the version of the policy that judged the session.
	Generation uint64
	// Rule is the rule that decided; 0 for a default.
	Rule uint32
	// Aux is the engine's index of the session's heap objects; 0 is none.
	Aux uint32
	// Pin is the engine's number of the payload that its receiver has not acknowledged yet; 0 is
	// none.
	Pin uint32
	// Endpoint is the number of the endpoint to which the session is attributed: that of its first
	// frame, while that is attached.
	Endpoint uint32
	// Flags describe the connection, Marks what was done with it.
	Flags Flags
	Marks Marks
	// App and Base are app.IDs.
	App, Base uint16
	// Strength holds a parsers.Match.
	Strength uint8
	// Verdict and Reason are policy's last decision.
	Verdict flow.Verdict
	Reason  flow.Reason

	slot            uint8 // place in the timer wheel: level<<6 | slot
	reportedPackets [2]uint32
	reportedBytes   [2]uint64
	halves          [2]halfConn

	ref        uint32 // index in the table + 1; 0 while free
	deadline   uint32 // tick
	next, prev uint32 // refs in the wheel's slot; next is also the free list
	ownNext    uint32 // refs in the workload's list
	ownPrev    uint32
}

// DirOf returns the direction of a packet; swapped is the result of KeyOf.
func (s *Session) DirOf(swapped bool) int {
	if s.ClientIsA != swapped {
		return 0
	}
	return 1
}

// Count adds a packet of n bytes (from the IP header on) in direction dir, and updates Last.
func (s *Session) Count(dir, n int, now int64) {
	s.Packets[dir&1]++
	s.Bytes[dir&1] += uint64(n)
	s.Last = now
}

// Unreported returns what was counted since MarkReported.
func (s *Session) Unreported() (packets, bytes [2]uint64) {
	for d := range packets {
		// Fewer than 2^32 packets arrive between two records, so the lower half is enough.
		packets[d] = uint64(uint32(s.Packets[d]) - s.reportedPackets[d])
		bytes[d] = s.Bytes[d] - s.reportedBytes[d]
	}
	return packets, bytes
}

// MarkReported marks everything counted so far as recorded.
func (s *Session) MarkReported() {
	for d := range s.reportedBytes {
		s.reportedPackets[d] = uint32(s.Packets[d])
		s.reportedBytes[d] = s.Bytes[d]
	}
}

// Client returns the client's address and port.
func (s *Session) Client() (packet.Addr, uint16) {
	if s.ClientIsA {
		return s.Key.A, s.Key.APort
	}
	return s.Key.B, s.Key.BPort
}

// Server returns the server's address and port.
func (s *Session) Server() (packet.Addr, uint16) {
	if s.ClientIsA {
		return s.Key.B, s.Key.BPort
	}
	return s.Key.A, s.Key.APort
}

// SwapClient swaps client and server, including counters, half connections and Dir.
func (s *Session) SwapClient() {
	s.ClientIsA = !s.ClientIsA
	s.Dir = s.Dir.Reverse()
	s.Packets[0], s.Packets[1] = s.Packets[1], s.Packets[0]
	s.Bytes[0], s.Bytes[1] = s.Bytes[1], s.Bytes[0]
	s.reportedPackets[0], s.reportedPackets[1] = s.reportedPackets[1], s.reportedPackets[0]
	s.reportedBytes[0], s.reportedBytes[1] = s.reportedBytes[1], s.reportedBytes[0]
	s.halves[0], s.halves[1] = s.halves[1], s.halves[0]
}
