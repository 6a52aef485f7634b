package packet

// Reason is the reason why a packet is malformed, a constant text; it is empty otherwise.
type Reason string

// Reasons. CutShort is the capture's fault (the frame was longer on the wire than the
// captured data); all others are the sender's.
const (
	CutShort          Reason = "cut_short"
	ShortFrame        Reason = "short_frame"
	TooManyTags       Reason = "too_many_tags"
	TooManyLabels     Reason = "too_many_labels"
	ShortIP           Reason = "short_ip"
	BadIPVersion      Reason = "bad_ip_version"
	BadIHL            Reason = "bad_ihl"
	BadTotalLength    Reason = "bad_total_length"
	BadPayloadLength  Reason = "bad_payload_length"
	BadExtension      Reason = "bad_extension"
	TooManyExtensions Reason = "too_many_extensions"
	TinyFragment      Reason = "tiny_fragment"
	ShortTCP          Reason = "short_tcp"
	BadTCPOffset      Reason = "bad_tcp_offset"
	ShortUDP          Reason = "short_udp"
	BadUDPLength      Reason = "bad_udp_length"
	ShortICMP         Reason = "short_icmp"
	ShortSCTP         Reason = "short_sctp"
)
