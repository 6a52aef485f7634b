package packet

import "net/netip"

// Addr is an address of either family in 16 bytes; IPv4 is IPv4-mapped (::ffff:a.b.c.d), so
// that one comparison serves both. Packet.IPv6 is the family.
type Addr [16]byte

// Netip returns the address as a netip.Addr, IPv4 unmapped.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// AddrFrom returns the Addr of a netip.Addr.
func AddrFrom(a netip.Addr) Addr { return a.As16() }

// IP protocol numbers (IANA) that have names in the engine.
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
	ProtoSCTP   = 132
)

// TCP flag bits (RFC 9293 3.1; ECE and CWR from RFC 3168).
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Status is the outcome of decoding a frame.
type Status uint8

// Decode outcomes.
const (
	// OK: every layer up to the transport header was read.
	OK Status = iota
	// NotIP: a frame that is neither IPv4 nor IPv6 (ARP, LLDP ...).
	NotIP
	// Fragment: an IP fragment; the transport fields are valid only for a first fragment with a
	// complete transport header. core/frag reassembles it.
	Fragment
	// Malformed: a header is invalid; Reason names it.
	Malformed
)

// Packet is a decoded frame. A worker reuses it for every frame; slices are borrowed from the
// frame.
type Packet struct {
	Status Status
	// Reason is set with Malformed, and with Fragment where a first fragment is too
	// small for its transport header or that header is wrong.
	Reason Reason

	// Network layer; valid unless Status is NotIP or Malformed below it.
	IPv6     bool
	Src, Dst Addr
	TTL      uint8 // IPv4 TTL, IPv6 hop limit
	Proto    uint8 // the transport protocol, past IPv6 extension headers
	// Network is from the IP header to the end the IP length gives (padding cut off).
	Network []byte
	// IPHeader is the length of the IP header with options and extension headers.
	IPHeader int
	// SourceRoute: the sender chose the route (IPv4 LSRR or SSRR option, IPv6 routing header
	// type 0).
	SourceRoute bool
	// routed: Dst is not the final destination, which matters to checksums.
	routed bool

	// Fragmentation; valid when Status is Fragment. The transport layer below is valid
	// then as well if FragOffset is 0 and Reason empty.
	FragID     uint32
	FragOffset uint16 // bytes
	MoreFrags  bool
	// FragHeader is the offset in Network of the IPv6 fragment header; 0 for IPv4.
	FragHeader int

	// Transport layer; valid when Status is OK. For ICMP, SrcPort is the echo identifier (0
	// otherwise) and DstPort 0.
	SrcPort, DstPort uint16
	Flags            uint8 // TCP flags
	Seq, Ack         uint32
	Window           uint16
	MSS              uint16 // TCP SYN option, 0 if absent
	WScale           uint8  // TCP SYN option; valid with HasWScale
	HasWScale        bool
	FastOpen         bool   // TCP Fast Open option present
	HasTime          bool   // TCP timestamps option present, in any segment
	Signed           bool   // TCP MD5 (RFC 2385) or AO (RFC 5925) option present, in any segment
	TimeValue        uint32 // TSval of the timestamps option (RFC 7323 3.2); valid with HasTime
	ICMPType         uint8
	ICMPCode         uint8
	// Embedded is the IP packet quoted by an ICMP error; nil otherwise.
	Embedded []byte
	// Payload is the transport payload, as far as the frame holds it; for a fragment
	// without transport header it is the fragment's data.
	Payload []byte
	// PayloadWire is the payload's length by the IP header; larger than len(Payload)
	// where the capture cut the frame.
	PayloadWire int

	// Link layer.
	SrcMAC, DstMAC [6]byte
	VLAN           uint16 // innermost tag's VLAN id, 0 if untagged
	// L3 is the offset of the IP header in Frame.Data; with NotIP that of what follows EtherType.
	L3 int
	// EtherType is the innermost EtherType, or the length of an IEEE 802.3 frame; valid with NotIP.
	// It is 0 where the frame has a PPPoE or MPLS header.
	EtherType uint16
}
