package rawtcp

import "time"

// Decoy is a way to make an observer between client and server read other bytes than the
// server's application. Send sends the cover, which the server's kernel does not deliver, and
// then the marker, which it does.
type Decoy struct {
	Name string
	// Syn is the SYN; Covers sends what comes behind the handshake and before the marker.
	Syn    func(cover []byte) Segment
	Covers func(c *Conn, cover []byte)
	// Marker returns the segment with the marker; nil: an ordinary one.
	Marker func(c *Conn, marker []byte) Segment
}

// one returns Covers that send one segment with the cover.
func one(s Segment) func(*Conn, []byte) {
	return func(c *Conn, cover []byte) {
		s := s
		s.Data = cover
		_ = c.Send(s)
	}
}

const startTime = 1000

func timed([]byte) Segment { return Segment{Options: Times(startTime, 0)} }

func timedMarker(c *Conn, marker []byte) Segment {
	return Segment{Flags: PSH | ACK, Data: marker, Options: Times(startTime+200, c.ServerTime)}
}

var (
	signature = append([]byte{1, 1, 19, 18}, make([]byte, 16)...)
	cookie    = []byte{34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1}
)

// Decoys are all of them.
var Decoys = []Decoy{
	{Name: "bad checksum", Covers: one(Segment{Flags: PSH | ACK, BadSum: true})},
	{Name: "bad checksum of the IP header", Covers: one(Segment{Flags: PSH | ACK, BadIPSum: true})},
	{Name: "acknowledges what was never sent", Covers: one(Segment{Flags: PSH | ACK, Ack: 5000})},
	{Name: "acknowledges what is long past", Covers: one(Segment{Flags: PSH | ACK, Ack: -1 << 20})},
	{Name: "old timestamp", Syn: timed, Marker: timedMarker, Covers: func(c *Conn, cover []byte) {
		_ = c.Send(Segment{Flags: PSH | ACK, Data: cover, Options: Times(1, c.ServerTime)})
	}},
	{Name: "MD5 option", Covers: one(Segment{Flags: PSH | ACK, Options: signature})},
	{Name: "AO option", Covers: one(Segment{Flags: PSH | ACK, Options: append([]byte{29, 16}, make([]byte, 14)...)})},
	{Name: "no ACK", Covers: one(Segment{Flags: PSH})},
	{Name: "SYN in the connection, with data", Covers: one(Segment{Flags: SYN, Seq: -1})},
	{Name: "SYN+ACK in the connection, with data", Covers: one(Segment{Flags: SYN | ACK, Seq: -1})},
	{Name: "RST with data, outside of the window", Covers: one(Segment{Flags: RST | ACK, Seq: 1 << 20})},
	{Name: "IP options that no host accepts", Covers: one(Segment{Flags: PSH | ACK, Strange: true})},
	{Name: "data in the SYN", Syn: func(cover []byte) Segment { return Segment{Data: cover} }},
	{Name: "data in the SYN with a cookie", Syn: func(cover []byte) Segment { return Segment{Data: cover, Options: cookie} }},
	{Name: "RST with a bad checksum", Covers: func(c *Conn, _ []byte) {
		_ = c.Send(Segment{Flags: RST, BadSum: true})
	}},
	{Name: "FIN, RST and SYN with bad checksums", Covers: func(c *Conn, _ []byte) {
		_ = c.Send(Segment{Flags: FIN | ACK, BadSum: true})
		_ = c.Send(Segment{Flags: RST | ACK, BadSum: true})
		_ = c.Send(Segment{Flags: SYN, Seq: 5000, BadSum: true})
	}},
	{Name: "FIN behind a gap", Covers: func(c *Conn, _ []byte) {
		_ = c.Send(Segment{Flags: FIN | ACK, BadSum: true, Seq: 100})
	}},
	{Name: "later bytes first, then all in other bytes", Covers: func(c *Conn, cover []byte) {
		_ = c.Send(Segment{Flags: PSH | ACK, Seq: 4, Data: cover[4:], BadSum: true})
		_ = c.Send(Segment{Flags: PSH | ACK, Data: cover[:4], BadSum: true})
	}},
	{Name: "second half with a bad checksum", Covers: func(c *Conn, cover []byte) {
		_ = c.Send(Segment{Flags: PSH | ACK, Seq: len(cover) / 2, Data: cover[len(cover)/2:], BadSum: true})
	}},
}

// Send tries a decoy on an opened connection. It reports whether the connection was established.
func (d *Decoy) Send(c *Conn, cover, marker []byte) bool {
	syn := Segment{}
	if d.Syn != nil {
		syn = d.Syn(cover)
	}
	if err := c.Handshake(syn); err != nil {
		return false
	}
	if d.Covers != nil {
		d.Covers(c, cover)
	}
	c.Receive(100 * time.Millisecond)
	s := Segment{Flags: PSH | ACK, Data: marker}
	if d.Marker != nil {
		s = d.Marker(c, marker)
	}
	for range 3 { // as TCP repeats it
		_ = c.Send(s)
		c.Receive(100 * time.Millisecond)
	}
	return true
}
