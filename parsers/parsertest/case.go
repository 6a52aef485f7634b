package parsertest

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/sluicenet/sluice/parsers"
)

// Message is one segment or datagram, or a gap.
type Message struct {
	Dir  parsers.Dir
	Data []byte
	// Gap is how many bytes are lost; 0: this is no gap, negative: unknown.
	Gap int
}

// Case is one conversation and what must be found in it.
type Case struct {
	Name     string
	Meta     parsers.Meta
	Messages []Message
	Want     Findings
	// ClientOnly and ServerOnly are applications that one side's bytes alone must give; empty: no expectation.
	ClientOnly, ServerOnly string
	// Side is "certain" where the parser must know the client in midstream, "exchanged" where it must know
	// that the server
	// of the case is the client, "unknown" where it must not know; empty: not said.
	Side string
	// NoJunk reports whether bytes behind the conversation may change the answer.
	NoJunk bool
}

// Negative reports whether the bytes are none of the parser's.
func (c *Case) Negative() bool { return c.Want.App == None }

// Load reads every *.case file of a folder, by name.
func Load(dir string) ([]Case, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.case"))
	if err != nil {
		return nil, fmt.Errorf("list cases: %w", err)
	}
	sort.Strings(paths)
	out := make([]Case, 0, len(paths))
	for _, p := range paths {
		c, err := loadOne(p)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func loadOne(path string) (Case, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Case{}, fmt.Errorf("read case: %w", err)
	}
	c, err := Parse(strings.TrimSuffix(filepath.Base(path), ".case"), string(text))
	if err != nil {
		return Case{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Parse reads one case.
func Parse(name, text string) (Case, error) {
	c := Case{Name: name, Meta: defaultMeta()}
	c.Want.Final = true
	body := false
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		var err error
		switch {
		case line == "" || line[0] == '#':
		case body:
			err = c.message(line)
		case line == "---":
			body = true
		default:
			err = c.header(line)
		}
		if err != nil {
			return c, fmt.Errorf("line %d: %w", n+1, err)
		}
	}
	if c.Want.App == "" || len(c.Messages) == 0 {
		return c, fmt.Errorf("needs an app line and messages")
	}
	if c.Want.Base == "" {
		c.Want.Base = c.Want.App
	}
	if c.Want.Strength == parsers.No && !c.Negative() {
		c.Want.Strength = parsers.Certain
	}
	return c, nil
}

func defaultMeta() parsers.Meta {
	return parsers.Meta{
		Client: netip.MustParseAddr("192.0.2.1"), ClientPort: 40000,
		Server: netip.MustParseAddr("192.0.2.2"), ServerPort: 7777, Proto: 6,
	}
}

func (c *Case) header(line string) error {
	key, value, ok := strings.Cut(line, ":")
	if !ok {
		return fmt.Errorf("%q is not key: value", line)
	}
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	switch key {
	case "proto":
		p, ok := map[string]uint8{"tcp": 6, "udp": 17}[value]
		if !ok {
			return fmt.Errorf("proto %q is not tcp or udp", value)
		}
		c.Meta.Proto = p
	case "client":
		return endpoint(value, &c.Meta.Client, &c.Meta.ClientPort)
	case "server":
		return endpoint(value, &c.Meta.Server, &c.Meta.ServerPort)
	case "midstream":
		c.Meta.Midstream = value == "true"
	case "app":
		c.Want.App = value
	case "base":
		c.Want.Base = value
	case "strength":
		m, ok := map[string]parsers.Match{"likely": parsers.Likely, "certain": parsers.Certain}[value]
		if !ok {
			return fmt.Errorf("strength %q is not likely or certain", value)
		}
		c.Want.Strength = m
	case "client-only":
		c.ClientOnly = value
	case "server-only":
		c.ServerOnly = value
	case "side":
		if value != "certain" && value != "exchanged" && value != "unknown" {
			return fmt.Errorf("side %q is not certain, exchanged or unknown", value)
		}
		c.Side = value
	case "final":
		c.Want.Final = value != "false"
	case "junk":
		c.NoJunk = value == "false"
	case "expect":
		e, err := parseExpect(value)
		if err != nil {
			return err
		}
		c.Want.Expects = append(c.Want.Expects, e)
	case "threat":
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return fmt.Errorf("threat: %w", err)
		}
		c.Want.threat(uint16(n))
	default:
		return c.attr(key, value)
	}
	return nil
}

func (c *Case) attr(key, value string) error {
	name, ok := strings.CutPrefix(key, "attr ")
	if !ok {
		return fmt.Errorf("unknown key %q", key)
	}
	v, err := unescape(value)
	if err != nil {
		return err
	}
	for a := parsers.NoAttr + 1; a.String() != ""; a++ {
		if a.String() == strings.TrimSpace(name) {
			c.Want.attr(a, v)
			return nil
		}
	}
	return fmt.Errorf("unknown attribute %q", name)
}

func endpoint(s string, addr *netip.Addr, port *uint16) error {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return fmt.Errorf("endpoint: %w", err)
	}
	*addr, *port = ap.Addr(), ap.Port()
	return nil
}

func (c *Case) message(line string) error {
	if rest, ok := strings.CutPrefix(line, "gap "); ok {
		return c.gap(rest)
	}
	mark, rest := line[0], line[1:]
	data, err := payload(rest)
	if err != nil {
		return err
	}
	switch {
	case mark == '>':
		c.Messages = append(c.Messages, Message{Dir: parsers.ToServer, Data: data})
	case mark == '<':
		c.Messages = append(c.Messages, Message{Dir: parsers.ToClient, Data: data})
	case mark == '+' && len(c.Messages) > 0 && c.Messages[len(c.Messages)-1].Gap == 0:
		last := &c.Messages[len(c.Messages)-1]
		last.Data = append(last.Data, data...)
	default:
		return fmt.Errorf("%q is no message", line)
	}
	return nil
}

func (c *Case) gap(rest string) error {
	side, count, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.Atoi(strings.TrimSpace(count))
	if err != nil || n == 0 || (side != ">" && side != "<") {
		return fmt.Errorf("gap %q: want a side and a number of bytes", rest)
	}
	dir := parsers.ToServer
	if side == "<" {
		dir = parsers.ToClient
	}
	c.Messages = append(c.Messages, Message{Dir: dir, Gap: n})
	return nil
}

// payload reads what follows the side mark: " text", "x hex" or "*count text".
func payload(s string) ([]byte, error) {
	switch {
	case strings.HasPrefix(s, "x"):
		b, err := hex.DecodeString(strings.Join(strings.Fields(s[1:]), ""))
		if err != nil {
			return nil, fmt.Errorf("hex: %w", err)
		}
		return b, nil
	case strings.HasPrefix(s, "*"):
		count, text, _ := strings.Cut(s[1:], " ")
		n, err := strconv.Atoi(count)
		if err != nil || n < 0 || n > 1<<20 {
			return nil, fmt.Errorf("count %q", count)
		}
		b, err := unescape(text)
		return bytes.Repeat(b, n), err
	}
	return unescape(strings.TrimPrefix(s, " "))
}

// unescape decodes Go's escapes; quotes are literal.
func unescape(s string) ([]byte, error) {
	out := make([]byte, 0, len(s))
	for len(s) > 0 {
		if s[0] != '\\' {
			out, s = append(out, s[0]), s[1:]
			continue
		}
		if len(s) > 1 && (s[1] == '"' || s[1] == '\'') {
			out, s = append(out, s[1]), s[2:]
			continue
		}
		r, multi, rest, err := strconv.UnquoteChar(s, 0)
		if err != nil {
			return nil, fmt.Errorf("escape at %q: %w", s, err)
		}
		if multi {
			out = append(out, string(r)...)
		} else {
			out = append(out, byte(r))
		}
		s = rest
	}
	return out, nil
}
