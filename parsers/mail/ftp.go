package mail

import (
	"bytes"
	"net/netip"
	"strconv"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// ftp is FTP's parser: it reads the control connection to its end, for the data connections that it
// announces (RFC 959, RFC 2428).
type ftp struct{ parser }

var (
	_ parsers.Sided    = ftp{}
	_ parsers.Follower = ftp{}
)

// NewFTP is the parser of FTP's control connection.
func NewFTP() parsers.Parser { return ftp{parser{&ftpRules}} }

// Follows implements parsers.Follower.
func (ftp) Follows() {}

// Open implements parsers.Parser.
func (p ftp) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return &control{p: p, meta: *m, sink: sink}
}

// maxWaiting bounds the commands that wait for a reply.
const maxWaiting = 32

// asks is what a command asks for.
type asks uint8

const (
	something asks = iota
	passivePort
	beginTLS
)

// control is one control connection.
type control struct {
	p    ftp
	meta parsers.Meta
	sink parsers.Sink
	seen [2]bool // that side's beginning was reported
	skip [2]bool // the rest of a line that is too long, or behind a gap, is being skipped
	// queue is what the commands without a reply ask for, in order.
	queue   [maxWaiting]asks
	waiting int
	tls     bool    // one of them asks for TLS: what the client sends behind it depends on the reply
	greeted bool    // the reply that belongs to no command was read
	unknown bool    // commands may have been missed, so that a reply may belong to one of them
	within  [3]byte // code of the reply of several lines that is being read; zero: none
}

// Parse implements parsers.Stream.
func (c *control) Parse(dir parsers.Dir, data []byte) parsers.Result {
	if !c.seen[dir] {
		switch c.begin(dir, data) {
		case parsers.No:
			return parsers.Result{State: parsers.Rejected}
		case parsers.More:
			return parsers.Result{State: parsers.Named}
		}
	}
	used := 0
	for c.reads(dir) {
		end := bytes.IndexByte(data[used:], '\n')
		if end < 0 {
			if len(data)-used >= maxLine {
				used, c.skip[dir] = len(data), true
			}
			break
		}
		text := bytes.TrimSuffix(data[used:used+end], []byte("\r"))
		used += end + 1
		switch {
		case c.skip[dir]:
			c.skip[dir] = false
		case dir == parsers.ToServer:
			c.command(text)
		case c.reply(text):
			return parsers.Result{Used: used, State: parsers.Upgraded}
		}
	}
	return parsers.Result{Used: used, State: parsers.Named}
}

// begin judges a side's beginning: More while it must be longer.
func (c *control) begin(dir parsers.Dir, data []byte) parsers.Match {
	head := data[:min(len(data), parsers.MaxHead)]
	match := c.p.Probe(&c.meta, dir, head)
	if match == parsers.More && len(data) < parsers.MaxHead {
		_, whole := line(head)
		later := dir == parsers.ToClient && c.meta.Midstream && c.p.r.greeting(&c.meta, head) == parsers.No
		enough := dir == parsers.ToServer && bytes.Count(head, []byte("\n")) >= maxCommands // as many as Probe reads
		if !whole || !later && !enough {
			return parsers.More
		}
	}
	if match == parsers.No {
		return parsers.No
	}
	c.p.Tell(&c.meta, dir, head, c.sink)
	c.seen[dir] = true
	c.unknown = c.unknown || c.meta.Midstream
	return parsers.Likely
}

// reads reports whether the next line of a side may be read: a reply is behind its command, and what
// is behind a command that asks for TLS is behind its reply.
func (c *control) reads(dir parsers.Dir) bool {
	if dir == parsers.ToServer {
		return !c.tls
	}
	return c.within != [3]byte{} || !c.greeted || c.waiting > 0 || c.unknown
}

// command reads a line of the client.
func (c *control) command(text []byte) {
	for len(text) > 0 && (text[0] >= 0x80 || text[0] <= ' ') { // Telnet's signals before ABOR
		text = text[1:]
	}
	verb := word(text)
	if len(verb) < 3 || len(verb) > 4 {
		return
	}
	arg := bytes.TrimSpace(text[len(verb):])
	what := something
	switch {
	case is(verb, "PASV"), is(verb, "EPSV") && !is(arg, "ALL"):
		what = passivePort
	case ftpStartsTLS(verb, text):
		what, c.tls = beginTLS, true
	}
	if c.waiting == maxWaiting {
		c.waiting, c.unknown, c.tls = 0, true, false
	}
	c.queue[c.waiting] = what
	c.waiting++
	switch {
	case is(verb, "PORT"):
		if a, port, ok := hostPort(arg); ok {
			c.expect(parsers.ToClient, port, a)
		}
	case is(verb, "EPRT"):
		if a, port, ok := extended(arg); ok && a.IsValid() {
			c.expect(parsers.ToClient, port, a)
		}
	}
}

// reply reads a line of the server, and reports whether TLS begins behind it.
func (c *control) reply(text []byte) (upgraded bool) {
	if len(text) < 3 || !digits(text[:3]) || text[0] < '1' || text[0] > '5' {
		return false
	}
	code := [3]byte(text[:3])
	more := len(text) > 3 && text[3] == '-'
	if c.within != [3]byte{} {
		if code != c.within || more {
			return false // a line of text, whatever it looks like
		}
		c.within = [3]byte{}
	} else if more {
		c.within = code
		return false
	}
	if code[0] == '1' {
		return false // another one follows
	}
	what := c.answers(string(code[:]))
	if what == beginTLS {
		c.tls = false
		return string(code[:]) == "234"
	}
	if what != passivePort {
		return false
	}
	switch string(code[:]) {
	case "227":
		// The address is that of the server as it sees itself. Clients connect to the one that they
		// know, and whoever believes another one opens a connection that does not belong here.
		if _, port, ok := hostPort(text[3:]); ok {
			c.expect(parsers.ToServer, port, netip.Addr{})
		}
	case "229":
		if a, port, ok := extended(between(text[3:], '(', ')')); ok && !a.IsValid() {
			c.expect(parsers.ToServer, port, netip.Addr{})
		}
	}
	return false
}

// answers assigns a reply to its command, and returns what that asked for.
func (c *control) answers(code string) asks {
	switch {
	case !c.greeted && !c.unknown: // the greeting
		c.greeted = true
		return something
	case c.waiting == 0:
		return passivePort // it may have: commands were missed
	case c.queue[0] == passivePort && code[0] == '2' && code != "227" && code != "229":
		return something // a second reply to a transfer that was ended by ABOR
	}
	what := c.queue[0]
	c.waiting--
	copy(c.queue[:], c.queue[1:])
	c.greeted, c.unknown = true, false
	return what
}

func (c *control) expect(at parsers.Dir, port uint16, a netip.Addr) {
	if port != 0 {
		c.sink.Expect(parsers.Expectation{At: at, Proto: 6, Port: port, Addr: a, App: app.FTPData})
	}
}

// Gap implements parsers.Stream.
func (c *control) Gap(dir parsers.Dir, _ int) bool {
	c.skip[dir], c.waiting, c.tls, c.unknown, c.within = true, 0, false, true, [3]byte{}
	return true
}

// Close implements parsers.Stream.
func (c *control) Close() {}

func digits(b []byte) bool {
	for _, x := range b {
		if x < '0' || x > '9' {
			return false
		}
	}
	return true
}

// between returns what is between two bytes; nil without them.
func between(b []byte, from, to byte) []byte {
	i := bytes.IndexByte(b, from)
	if i < 0 {
		return nil
	}
	j := bytes.IndexByte(b[i:], to)
	if j < 0 {
		return nil
	}
	return b[i+1 : i+j]
}

// hostPort reads h1,h2,h3,h4,p1,p2 (RFC 959 4.1.2), which a reply may have anywhere in its text.
func hostPort(b []byte) (a netip.Addr, port uint16, ok bool) {
	for len(b) > 0 && (b[0] < '0' || b[0] > '9') {
		b = b[1:]
	}
	var n [6]byte
	for i := range n {
		at := 0
		for at < len(b) && at < 4 && b[at] >= '0' && b[at] <= '9' {
			at++
		}
		v, err := strconv.ParseUint(string(b[:at]), 10, 8)
		if err != nil || i < 5 && (at >= len(b) || b[at] != ',') {
			return a, 0, false
		}
		n[i], b = byte(v), b[min(at+1, len(b)):]
	}
	return netip.AddrFrom4([4]byte(n[:4])), uint16(n[4])<<8 | uint16(n[5]), true
}

// extended reads |protocol|address|port| with any delimiter (RFC 2428 2, 3). In a reply protocol and
// address are empty.
func extended(b []byte) (a netip.Addr, port uint16, ok bool) {
	if len(b) < 5 || b[len(b)-1] != b[0] {
		return a, 0, false
	}
	f := bytes.Split(b[1:len(b)-1], b[:1])
	if len(f) != 3 || len(f[1]) > 64 {
		return a, 0, false
	}
	n, err := strconv.ParseUint(string(f[2]), 10, 16)
	if err != nil {
		return a, 0, false
	}
	if len(f[1]) > 0 {
		if a, err = netip.ParseAddr(string(f[1])); err != nil || a.Zone() != "" || a.Is4In6() {
			return a, 0, false
		}
	}
	return a, uint16(n), true
}
