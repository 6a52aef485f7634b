package sip

import (
	"bytes"
	"net/netip"
	"strconv"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// maxMedia bounds the ports that one message announces.
const maxMedia = 32

// media reads a session description (RFC 8866): the ports on which its sender receives. Media of
// another host belongs to no session between these two.
func (s *stream) media(dir parsers.Dir, body []byte) {
	d := description{s: s, at: dir}
	for len(body) > 0 {
		var line []byte
		line, body, _ = bytes.Cut(body, []byte("\n"))
		if line = bytes.TrimSuffix(line, []byte("\r")); len(line) > 2 && line[1] == '=' {
			d.line(line[0], line[2:])
		}
	}
	d.finish()
}

// description is a session description being read.
type description struct {
	s     *stream
	at    parsers.Dir
	count int
	// session and own are whether the address of the session, and that of the present media, is the
	// sender's.
	session, own address
	port, rtcp   uint16 // of the present media; 0: none
	streams      uint16
	udp, rtp     bool
	within       bool // behind the first media line
}

// address is what is known of an announced address.
type address uint8

const (
	noAddress address = iota
	itsOwn
	another
)

func (d *description) line(kind byte, v []byte) {
	switch kind {
	case 'c':
		d.connection(v)
	case 'm':
		d.finish()
		d.within = true
		d.begin(v)
	case 'a':
		d.attribute(v)
	}
}

// begin reads "audio 49170/2 RTP/AVP 0".
func (d *description) begin(v []byte) {
	f := bytes.Fields(v)
	if len(f) < 3 {
		return
	}
	ports, count, _ := bytes.Cut(f[1], []byte("/"))
	port, err := strconv.ParseUint(string(ports), 10, 16)
	if err != nil {
		return
	}
	d.port, d.streams = uint16(port), 1
	if n, err := strconv.ParseUint(string(count), 10, 8); err == nil && n > 0 {
		d.streams = uint16(n)
	}
	proto := bytes.ToUpper(f[2])
	d.rtp = bytes.Contains(proto, []byte("RTP/"))
	d.udp = !bytes.HasPrefix(proto, []byte("TCP"))
}

// connection reads "IN IP4 192.0.2.1".
func (d *description) connection(v []byte) {
	f := bytes.Fields(v)
	if len(f) != 3 {
		return
	}
	is := another
	if a, err := netip.ParseAddr(string(before(f[2], '/'))); err == nil && a == d.sender() {
		is = itsOwn
	}
	if !d.within {
		d.session = is
	} else {
		d.own = is
	}
}

// sender returns the address of the side that sent the description.
func (d *description) sender() netip.Addr {
	if d.at == parsers.ToServer {
		return d.s.meta.Client
	}
	return d.s.meta.Server
}

func (d *description) attribute(v []byte) {
	if !d.within || !bytes.HasPrefix(v, []byte("rtcp:")) { // RFC 3605
		return
	}
	if n, err := strconv.ParseUint(string(before(v[5:], ' ')), 10, 16); err == nil {
		d.rtcp = uint16(n)
	}
}

// finish announces the media that was read.
func (d *description) finish() {
	is := d.own
	if is == noAddress {
		is = d.session
	}
	if d.port != 0 && is == itsOwn {
		name := app.Undecided
		if d.rtp {
			name = app.RTP
		}
		for i := range d.streams {
			at := uint32(d.port) + 2*uint32(i)
			d.expect(at, name)
			if d.rtp && d.rtcp == 0 {
				d.expect(at+1, app.RTCP) // also where it may be sent to the same port (RFC 5761 5.1.1)
			}
		}
		if d.rtcp != 0 && d.rtcp != d.port {
			d.expect(uint32(d.rtcp), app.RTCP)
		}
	}
	*d = description{s: d.s, at: d.at, count: d.count, session: d.session, within: d.within}
}

func (d *description) expect(port uint32, name app.ID) {
	if d.count++; d.count > maxMedia || port > 65535 {
		return
	}
	proto := uint8(17)
	if !d.udp {
		proto = 6
	}
	// Its sender receives there: the side that sent it expects it.
	d.s.sink.Expect(parsers.Expectation{At: d.at.Reverse(), Proto: proto, Port: uint16(port), App: name, Long: true})
}
