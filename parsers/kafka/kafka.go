// Package kafka recognises Apache Kafka's protocol by its request headers, at a session's
// beginning and in midstream, and answers to ApiVersions. It reports the first request's
// name and the client's id, and reads no records.
package kafka

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

const (
	headerLen   = 14 // size, key, version, correlation, length of the client's id
	maxRequest  = 100 << 20
	maxID       = 249 // bytes of a client's id that are read; longer ones are as weak as none
	maxKey      = 127 // of today's and future requests
	maxVersion  = 31
	apiVersions = 18
	unsupported = 35 // UNSUPPORTED_VERSION
)

type parser struct{}

var (
	_ parsers.Teller = parser{}
	_ parsers.Sided  = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.Kafka.Name() }

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (parser) Probe(m *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	switch {
	case m.Datagram():
		return parsers.No
	case dir == parsers.ToServer:
		return request(m, head)
	case m.Midstream && !counted(head):
		return parsers.No
	}
	return response(head)
}

// Part implements parsers.Sided: a request has a header that no answer has, and so has the answer to ApiVersions.
func (parser) Part(m *parsers.Meta, head []byte) parsers.Part {
	switch asks, answers := request(m, head) == parsers.Likely, response(head) == parsers.Likely; {
	case asks && !answers:
		return parsers.ClientPart
	case answers && !asks:
		return parsers.ServerPart
	}
	return parsers.EitherPart
}

// Tell reports the name of the first request and the client's id.
func (parser) Tell(m *parsers.Meta, dir parsers.Dir, head []byte, sink parsers.Sink) {
	if dir != parsers.ToServer || request(m, head) != parsers.Likely {
		return
	}
	sink.Attr(parsers.Command, []byte(apiOf(head[5]).name))
	if n := int(int16(binary.BigEndian.Uint16(head[12:]))); n > 0 {
		sink.Attr(parsers.UserAgent, head[headerLen:headerLen+min(n, maxID)])
	}
}

// apiOf returns the request of a key, without a name if it is not known.
func apiOf(key byte) api {
	if int(key) < len(apis) {
		return apis[key]
	}
	return api{}
}

// request judges a request header: a small key and version, a client's id, and a size that the body fits. The id is
// chosen by users, or empty, and keys and versions are added to the protocol each year: what is not known, or is
// no text, makes a request weaker, and a weak one must be one that connections begin with.
func request(m *parsers.Meta, b []byte) parsers.Match {
	for i, c := range b[:min(len(b), 8)] {
		if i == 0 && c > maxRequest>>24 || i == 4 && c != 0 || i == 5 && c > maxKey || i == 6 && c != 0 || i == 7 && c > maxVersion {
			return parsers.No
		}
	}
	if len(b) < headerLen {
		return parsers.More
	}
	be := binary.BigEndian
	size, key, n := int(be.Uint32(b)), be.Uint16(b[4:]), int(int16(be.Uint16(b[12:])))
	if size < 10 || size > maxRequest || b[8]&0x80 != 0 || n < -1 || size < 10+max(n, 0) {
		return parsers.No
	}
	rest := size - 10 - max(n, 0)
	known := b[7] <= apiOf(b[5]).max
	weak := n < 3 || n > maxID || !known && n < 2*3
	id := b[headerLen:min(len(b), headerLen+min(max(n, 0), maxID))]
	if !weak && !text(id, len(id) == n) {
		weak = true
	}
	if weak && !starts(m, b, key, rest) || known && !bodyFits(key, b[7], rest) || !known && rest < 1 {
		return parsers.No
	}
	if len(id) < min(n, maxID) {
		return parsers.More
	}
	return parsers.Likely
}

// starts reports whether a request whose client id says nothing is one that a connection begins with: nothing
// else in it would distinguish it from other bytes. In midstream the correlation id must have been counted, too.
func starts(m *parsers.Meta, b []byte, key uint16, rest int) bool {
	correlation := binary.BigEndian.Uint32(b[8:])
	switch {
	case !m.Midstream && correlation > 1<<16:
		return false
	case m.Midstream && (correlation == 0 || correlation > 1<<24):
		return false
	}
	switch key {
	case apiVersions, 17: // SaslHandshake
		return rest < 512
	case 3: // Metadata
		return rest >= 1 && rest < 1<<16
	}
	return m.Midstream && key > 1 && int(key) < len(apis) && rest >= 4 && rest < 1<<20 // answers begin with a number where requests of 0 and 1 have their key
}

// text reports whether bytes are UTF-8 without control characters; the last character may be missing unless
// they are whole.
func text(b []byte, whole bool) bool {
	for len(b) > 0 {
		if b[0] < 0x20 || b[0] == 0x7f {
			return false
		}
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			return !whole && !utf8.FullRune(b)
		}
		b = b[n:]
	}
	return true
}

// bodyFits checks how much follows the client's id, where that is known.
func bodyFits(key uint16, version byte, rest int) bool {
	switch {
	case key == apiVersions && version < 3:
		return rest == 0 || rest == 4 // some clients send an empty array
	case key == apiVersions:
		return rest >= 3 && rest < 512
	case key == 3 && version < 9, key == 71: // Metadata, GetTelemetrySubscriptions
		return rest >= 1
	case key == 12 || key == 13: // Heartbeat, LeaveGroup
		return rest >= 4 && rest < 4096
	}
	return rest >= 4
}

// counted reports whether the number of an answer in midstream is one that a client has counted up to.
func counted(b []byte) bool {
	for i, c := range b[:min(len(b), 8)] {
		if i == 4 && c != 0 || i == 7 && c|b[5]|b[6] == 0 {
			return false
		}
	}
	return true
}

// response judges an answer to ApiVersions: an error code, and a row of keys with their versions. Other
// answers begin with numbers alone, without a magic.
func response(b []byte) parsers.Match {
	if len(b) > 0 && b[0] > maxRequest>>24 {
		return parsers.No
	}
	if len(b) < 21 {
		return parsers.More
	}
	be := binary.BigEndian
	size := int(be.Uint32(b))
	if size < 4 || size > maxRequest {
		return parsers.No
	}
	code, count, at := be.Uint16(b[8:]), int(be.Uint32(b[10:])), 14
	if count > 256 || count == 0 {
		count, at = int(b[10])-1, 11 // a compact array since version 3
	}
	if code != 0 && code != unsupported || count < 1 || count > 120 || size < 6+6*count {
		return parsers.More
	}
	key, lo, hi := be.Uint16(b[at:]), be.Uint16(b[at+2:]), be.Uint16(b[at+4:])
	if key != 0 && code == 0 || lo > hi || hi > 20 {
		return parsers.More
	}
	return parsers.Likely
}

// api is a request's name and the highest version that is believed, some above today's.
type api struct {
	name string
	max  byte
}

var apis = [...]api{{"Produce", 13}, {"Fetch", 18}, {"ListOffsets", 11}, {"Metadata", 14}, {"LeaderAndIsr", 8}, {"StopReplica", 5}, {"UpdateMetadata", 9},
	{"ControlledShutdown", 4}, {"OffsetCommit", 10}, {"OffsetFetch", 10}, {"FindCoordinator", 7}, {"JoinGroup", 10}, {"Heartbeat", 5}, {"LeaveGroup", 6},
	{"SyncGroup", 6}, {"DescribeGroups", 7}, {"ListGroups", 6}, {"SaslHandshake", 2}, {"ApiVersions", 5}, {"CreateTopics", 8}, {"DeleteTopics", 7},
	{"DeleteRecords", 3}, {"InitProducerId", 6}, {"OffsetForLeaderEpoch", 5}, {"AddPartitionsToTxn", 6}, {"AddOffsetsToTxn", 5}, {"EndTxn", 6},
	{"WriteTxnMarkers", 3}, {"TxnOffsetCommit", 6}, {"DescribeAcls", 4}, {"CreateAcls", 4}, {"DeleteAcls", 4}, {"DescribeConfigs", 5}, {"AlterConfigs", 3},
	{"AlterReplicaLogDirs", 3}, {"DescribeLogDirs", 5}, {"SaslAuthenticate", 3}, {"CreatePartitions", 4}, {"CreateDelegationToken", 4},
	{"RenewDelegationToken", 3}, {"ExpireDelegationToken", 3}, {"DescribeDelegationToken", 4}, {"DeleteGroups", 3}, {"ElectLeaders", 3},
	{"IncrementalAlterConfigs", 2}, {"AlterPartitionReassignments", 2}, {"ListPartitionReassignments", 1}, {"OffsetDelete", 1}, {"DescribeClientQuotas", 2},
	{"AlterClientQuotas", 2}, {"DescribeUserScramCredentials", 1}, {"AlterUserScramCredentials", 1}, {"Vote", 2}, {"BeginQuorumEpoch", 2}, {"EndQuorumEpoch", 2},
	{"DescribeQuorum", 3}, {"AlterPartition", 4}, {"UpdateFeatures", 3}, {"Envelope", 1}, {"FetchSnapshot", 2}, {"DescribeCluster", 3}, {"DescribeProducers", 1},
	{"BrokerRegistration", 5}, {"BrokerHeartbeat", 2}, {"UnregisterBroker", 1}, {"DescribeTransactions", 1}, {"ListTransactions", 2}, {"AllocateProducerIds", 1},
	{"ConsumerGroupHeartbeat", 2}, {"ConsumerGroupDescribe", 2}, {"ControllerRegistration", 1},
	{"GetTelemetrySubscriptions", 1}, {"PushTelemetry", 1}, {"AssignReplicasToDirs", 1}, {"ListConfigResources", 1},
	{"DescribeTopicPartitions", 1}, {"ShareGroupHeartbeat", 1}, {"ShareGroupDescribe", 1}, {"ShareFetch", 1}, {"ShareAcknowledge", 1}}
