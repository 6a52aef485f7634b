package model

import (
	"errors"
	"slices"

	"github.com/sluicenet/sluice/core/packet"
)

// AsideCause is why something that was learned is set aside, not in force.
type AsideCause string

// Causes.
const (
	AsideScan  AsideCause = "scan"  // its client tried many targets, most of them without an answer
	AsidePorts AsideCause = "ports" // more ports than a learned rule lists
)

// Aside is a proposed rule: learned from traffic that may have been sent to teach it. It is not in
// force until a user accepts it.
type Aside struct {
	Rule   Rule       `json:"rule"` // its Revision is that of the proposal
	Cause  AsideCause `json:"cause"`
	Source string     `json:"source"` // workload or address whose traffic it was learned from first
	First  int64      `json:"first"`  // ns since the epoch
	Last   int64      `json:"last"`
	// Omitted counts further observations of ports that did not fit into Rule.
	Omitted uint64 `json:"omitted,omitempty"`
}

// ErrNoAside is the cause where a proposal is named that does not exist.
var ErrNoAside = errors.New("no such rule is set aside")

// Wide reports whether a learned rule allows much more than any traffic can show: every address
// outside, the metadata service, or every port of a protocol that has ports.
func (r *Rule) Wide() bool {
	if r.Origin != Learned || r.Action != Allow {
		return false
	}
	return r.To == External || r.To == Metadata || r.AnyPort()
}

// AnyPort reports whether a rule is for every port of a protocol that has ports.
func (r *Rule) AnyPort() bool {
	return len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p Port) bool {
		switch p.Proto {
		case 0, packet.ProtoTCP, packet.ProtoUDP, packet.ProtoSCTP:
			return p.Lo == 0 && p.Hi == 65535
		}
		return false
	})
}

// TakeLearnedID returns the next id of a learned rule, which is not given again.
func (rs *Rules) TakeLearnedID() uint32 {
	id := rs.next.NextLearned
	rs.next.NextLearned++
	return id
}

// MaxPortsOf is the maximum number of ports and ranges of a rule.
const MaxPortsOf = maxPorts
