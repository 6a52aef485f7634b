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

// maxCommands bounds the commands that wait for a reply.
const maxCommands = 32

// control is one control connection.
type control struct {
	p    ftp
	meta parsers.Meta
	sink parsers.Sink
	seen [2]bool // that side's beginning was judged
	skip [2]bool // the rest of a line that is too long, or behind a gap, is being skipped
	// wants reports of the commands without a reply, in order, which ask for a passive port.
	wants   [maxCommands]bool
	waiting int
	// early are replies to commands that are read after them: a side is read when the session is
	// named, which may be by the other side's bytes.
	early   int
	greeted bool // the reply that belongs to no command was read
	// unknown: commands may have been missed, so that a reply may belong to one of them.
	unknown   bool
	encrypted bool    // everything from here on
	within    [3]byte // code of the multi-line reply that is being read; zero: none
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
	if c.encrypted {
		return parsers.Result{Used: len(data), State: parsers.Done}
	}
	used := 0
	for {
		end := bytes.IndexByte(data[used:], '\n')
		if end < 0 {
			break
		}
		text := bytes.TrimSuffix(data[used:used+end], []byte("\r"))
		used += end + 1
		if c.skip[dir] {
			c.skip[dir] = false
			continue
		}
		if dir == parsers.ToServer {
			c.command(text)
		} else if c.reply(text); c.encrypted && c.seen[parsers.ToServer] {
			return parsers.Result{Used: used, State: parsers.Done}
		} else if c.encrypted {
			return parsers.Result{Used: len(data), State: parsers.Named} // the client's beginning is still to be read
		}
	}
	if len(data)-used >= maxLine {
		used, c.skip[dir] = len(data), true
	}
	return parsers.Result{Used: used, State: parsers.Named}
}

// begin judges a side's beginning: More while it must be longer.
func (c *control) begin(dir parsers.Dir, data []byte) parsers.Match {
	head := data[:min(len(data), parsers.MaxHead)]
	_, whole := line(head)
	switch match := c.p.Probe(&c.meta, dir, head); {
	case match == parsers.No:
		return parsers.No
	case match == parsers.More && len(data) < parsers.MaxHead:
		later := dir == parsers.ToClient && (!c.meta.Midstream || c.p.r.greeting(&c.meta, head) != parsers.No)
		if !whole || later {
			return parsers.More
		}
		c.p.Tell(&c.meta, dir, head, c.sink)
	default:
		c.p.Tell(&c.meta, dir, head, c.sink)
	}
	c.seen[dir] = true
	c.unknown = c.unknown || c.meta.Midstream
	return parsers.Likely
}

// command reads a line of the client.
func (c *control) command(text []byte) {
	for len(text) > 0 && (text[0] >= 0x80 || text[0] <= ' ') { // Telnet's signals before ABOR
		text = text[1:]
	}
	verb, arg, _ := bytes.Cut(text, []byte(" "))
	if len(verb) < 3 || len(verb) > 4 {
		return
	}
	passive := word(verb, "PASV") || word(verb, "EPSV") && !bytes.EqualFold(arg, []byte("ALL"))
	if c.early > 0 {
		c.early--
	} else if c.waiting < maxCommands {
		c.wants[c.waiting] = passive
		c.waiting++
	}
	switch {
	case word(verb, "PORT"):
		if a, port, ok := hostPort(arg); ok {
			c.expect(parsers.ToClient, port, a)
		}
	case word(verb, "EPRT"):
		if a, port, ok := extended(arg); ok && a.IsValid() {
			c.expect(parsers.ToClient, port, a)
		}
	}
}

// reply reads a line of the server.
func (c *control) reply(text []byte) {
	if len(text) < 3 || !digits(text[:3]) || text[0] < '1' || text[0] > '5' {
		return
	}
	code := [3]byte(text[:3])
	more := len(text) > 3 && text[3] == '-'
	if c.within != [3]byte{} {
		if code != c.within || more {
			return // a line of text, whatever it looks like
		}
		c.within = [3]byte{}
	} else if more {
		c.within = code
		return
	}
	if code[0] == '1' {
		return // another one follows
	}
	asked := c.answers()
	switch string(code[:]) {
	case "227":
		// The address is that of the server as it sees itself. Clients connect to the one that they
		// know, and whoever believes another one opens a connection that does not belong here.
		if _, port, ok := hostPort(text[3:]); ok && asked {
			c.expect(parsers.ToServer, port, netip.Addr{})
		}
	case "229":
		if a, port, ok := extended(between(text[3:], '(', ')')); ok && asked && !a.IsValid() {
			c.expect(parsers.ToServer, port, netip.Addr{})
		}
	case "234":
		c.encrypted = true
	}
}

// answers assigns a reply to its command, and reports whether that asked for a passive port.
func (c *control) answers() (passive bool) {
	switch {
	case c.waiting > 0:
		passive = c.wants[0]
		c.waiting--
		copy(c.wants[:], c.wants[1:])
		c.greeted, c.unknown = true, false
	case c.unknown:
		return true
	case !c.greeted:
		c.greeted = true
	case c.early < maxCommands:
		c.early++
	}
	return passive
}

func (c *control) expect(at parsers.Dir, port uint16, a netip.Addr) {
	if port != 0 {
		c.sink.Expect(parsers.Expectation{At: at, Proto: 6, Port: port, Addr: a, App: app.FTPData})
	}
}

// Gap implements parsers.Stream.
func (c *control) Gap(dir parsers.Dir, _ int) bool {
	c.skip[dir], c.waiting, c.early, c.unknown, c.within = true, 0, 0, true, [3]byte{}
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
