// Package parsers defines the contract of application parsers and their registry. Each protocol is a
// package below this one; it reads payload bytes, judges whether they are of its protocol, and reports
// attributes and threats. Parsers have no goroutines, make no system calls, never panic, and are bounded in
// memory and time on any input.
package parsers

import (
	"net/netip"

	"github.com/sluicenet/sluice/core/app"
)

// Dir is the side that sent the bytes.
type Dir uint8

// Directions, as indexes of two-element arrays.
const (
	ToServer Dir = iota // the client sent them
	ToClient            // the server sent them
)

// Reverse returns the other direction.
func (d Dir) Reverse() Dir { return d ^ 1 }

// String returns "to-server" or "to-client".
func (d Dir) String() string {
	if d == ToServer {
		return "to-server"
	}
	return "to-client"
}

// Match is a parser's judgement of a stream's beginning, and the strength of an identification.
type Match uint8

// Matches, weakest first.
const (
	// No: the bytes are not of this protocol, regardless of what follows.
	No Match = iota
	// More: a longer head is needed. It must end as soon as the bytes allow, because it delays all other
	// parsers.
	More
	// Likely: of this protocol, by this side alone.
	Likely
	// Certain: of this protocol: both sides agree, or there is a long enough magic.
	Certain
)

// String returns "no", "more", "likely" or "certain".
func (m Match) String() string { return [...]string{"no", "more", "likely", "certain"}[m&3] }

// Meta is what is known of a session before its bytes. It is valid for the call only.
type Meta struct {
	Client, Server         netip.Addr
	ClientPort, ServerPort uint16
	// Proto is the IP protocol number, 6 or 17.
	Proto uint8
	// Midstream reports whether the session's beginning was not seen: heads begin anywhere
	// (at a segment's beginning), and client and server may be a guess.
	Midstream bool
}

// Datagram reports whether data comes in datagrams: each call of Probe and
// Parse then holds exactly one, whole.
func (m *Meta) Datagram() bool { return m.Proto == 17 }

// Parser recognises one protocol. It is shared by all workers and has no state.
type Parser interface {
	// Name is the application's name in core/app, or a new one that a plugin brings.
	Name() string
	// Probe judges the head of one direction: every byte from its beginning so far, at
	// most 16 KiB (one datagram for UDP). It is
	// called again with a longer head while it returns More. The answer depends on the bytes alone, not on
	// how they were cut.
	Probe(m *Meta, dir Dir, head []byte) Match
	// Open begins to parse a session that Probe claimed.
	Open(m *Meta, sink Sink) Stream
}

// State is how far a stream's identification is.
type State uint8

// States of Result.
const (
	// Undecided: the application may still change (http2 that may be grpc); more bytes
	// are needed.
	Undecided State = iota
	// Preamble: as Undecided, and what came so far carries no request: it must be
	// delivered for the peer to continue (an HTTP/2 client waiting for SETTINGS).
	Preamble
	// Named: the application is final; the stream wants more bytes for what else it reports.
	Named
	// Done: nothing more to learn; the stream is closed.
	Done
	// Rejected: not this protocol after all; the session goes back to the other parsers, its
	// reported findings are void, and Used is ignored.
	Rejected
	// Upgraded: the application is final, and behind Used, and behind what was used of the other direction, the
	// session continues with another protocol, as after STARTTLS. The stream is closed; the other protocol is identified
	// by its own parser.
	Upgraded
)

// Result is the outcome of one Parse.
type Result struct {
	// Used is how many bytes of data were consumed. The rest comes again with
	// more behind it; a stream that uses nothing of 16 KiB is abandoned.
	Used  int
	State State
}

// Stream parses one session. Only one goroutine calls it.
type Stream interface {
	// Parse reads in-order bytes of one direction, borrowed for the call.
	Parse(dir Dir, data []byte) Result
	// Gap handles n lost bytes (n < 0: unknown) and returns false to abandon the stream.
	// Bytes not used before are dropped.
	Gap(dir Dir, n int) bool
	// Close ends it. It is called once.
	Close()
}

// Attr is the type of an attribute of a session.
type Attr uint8

// Attributes. Values are bytes as they stood on the wire, cut at 256.
const (
	NoAttr      Attr = iota
	Host             // HTTP Host or :authority, TLS or QUIC SNI: the requested name
	Method           // HTTP method
	Path             // HTTP path without query
	Status           // HTTP status code, gRPC status
	UserAgent        // client software
	Software         // server software and version
	Version          // protocol version
	ALPN             // negotiated protocol, else the first offered
	JA3              // TLS client fingerprint, 32 hex digits
	JA4              // TLS client fingerprint
	Subject          // certificate subject
	Issuer           // certificate issuer
	Question         // DNS name and type of the question
	Answer           // DNS answers
	RCode            // DNS response code
	User             // user name
	Database         // database or schema
	Command          // command or statement verb
	Service          // gRPC service and method: /package.Service/Method
	Banner           // server greeting
	Error            // error that the server answered
	HASSH            // SSH client fingerprint, 32 hex digits
	ProxyClient      // address and port of the client in a PROXY header; identification reports it
	VNI              // number of the virtual network in a tunnel (VXLAN, Geneve)
	Inner            // application that the session carries after an upgrade (STARTTLS, CONNECT, Upgrade); identification reports it
	numAttrs
)

var attrNames = [numAttrs]string{"", "host", "method", "path", "status", "user_agent", "software", "version", "alpn", "ja3", "ja4",
	"subject", "issuer", "question", "answer", "rcode", "user", "database", "command", "service", "banner", "error", "hassh", "proxy_client", "vni", "inner"}

// String returns the attribute's name in JSON.
func (a Attr) String() string {
	if int(a) < len(attrNames) {
		return attrNames[a]
	}
	return ""
}

// Sink receives the findings of a stream. The engine implements it; it may be called during Open, Parse
// and Gap only.
type Sink interface {
	// App reports the application on top of the parser's own protocol.
	App(id app.ID)
	// Attr reports one attribute; the first value of each attribute is kept. Borrowed.
	Attr(a Attr, value []byte)
	// Threat reports a threat with a short constant text. Its number is unique over all parsers and core/threat.
	Threat(id uint16, text string)
	// Expect announces a connection that belongs to this session, as the session's bytes agree on it.
	Expect(e Expectation)
}

// Layered is implemented by parsers of protocols that carry others (http, http2, tls): the
// application of their sessions is final only when their Stream returns Named or Done.
// All others are named as soon as they are chosen.
type Layered interface{ Layered() }

// Standalone is implemented by parsers of protocols in which each datagram shows by itself that it belongs to the
// protocol, at any place of a session and from either side: Probe claims every datagram of a session, and one that it
// refuses is of another protocol. A rule that names such an application needs no beginning of a session. It does not
// hold where later datagrams have other forms (data in pieces, media, encrypted packets, keep-alives without content):
// those are Continuing.
type Standalone interface{ Standalone() }

// Continuing is implemented by parsers of protocols whose later datagrams have other forms than Probe claims, where
// something can be said of them. Parsers without either interface can say nothing.
type Continuing interface {
	// Continues reports whether a datagram that Probe refuses may belong to a session of the protocol whose beginning
	// was not seen. It errs on the side of true. Client and server are a guess.
	Continues(m *Meta, datagram []byte) bool
}

// Part is the side that can send some data.
type Part uint8

// Parts.
const (
	EitherPart Part = iota // either side sends such data
	ClientPart             // only a client does
	ServerPart             // only a server does
)

// String returns "either", "client" or "server".
func (p Part) String() string { return [...]string{"either", "client", "server", ""}[p&3] }

// Sided is implemented by parsers that can identify the client by a side's data, if the opening of the
// session was not seen. Identification then calls Probe for a head in mid-stream, and for a datagram, as the
// other side's, too, and passes the sides by Part to Open, Probe and Parse.
type Sided interface {
	Parser
	// Part returns the side of a head that Probe claimed for either direction, or, in a session of the parser,
	// did not refuse. It is called if client and server are a guess, and must not use them: it returns
	// EitherPart if not certain. Head is borrowed.
	Part(m *Meta, head []byte) Part
}

// PartByProbe implements Part for parsers whose Probe distinguishes the two sides: certain where it claims a
// head as one side's
// and refuses it as the other's.
func PartByProbe(p Parser, m *Meta, head []byte) Part {
	switch client, server := p.Probe(m, ToServer, head), p.Probe(m, ToClient, head); {
	case client >= Likely && server == No:
		return ClientPart
	case server >= Likely && client == No:
		return ServerPart
	}
	return EitherPart
}

// MaxHead is the number of bytes of each direction that identification reads.
const MaxHead = 16 << 10
