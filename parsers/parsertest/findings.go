package parsertest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
)

// None is the application of bytes that a parser does not claim.
const None = "none"

// maxValue is where attribute values are cut.
const maxValue = 256

// Attr is one attribute that was found.
type Attr struct {
	Key   parsers.Attr
	Value string
}

// Findings is what a parser made of a conversation.
type Findings struct {
	// App is what rides on Base, or Base itself; None if the bytes were not claimed.
	App, Base string
	Strength  parsers.Match
	// Final reports whether App can no longer change.
	Final bool
	// Side is who the client is, as far as the parser is certain. It is not a part of String.
	Side    detect.Side
	Attrs   []Attr
	Threats []uint16
	// Expects are the connections that were announced, in order.
	Expects []parsers.Expectation
}

// attr keeps the first value of each attribute, as the engine does.
func (f *Findings) attr(a parsers.Attr, v []byte) {
	if a == parsers.NoAttr || len(v) == 0 {
		return
	}
	for _, have := range f.Attrs {
		if have.Key == a {
			return
		}
	}
	f.Attrs = append(f.Attrs, Attr{a, string(v[:min(len(v), maxValue)])})
}

func (f *Findings) threat(id uint16) {
	if !slices.Contains(f.Threats, id) {
		f.Threats = append(f.Threats, id)
	}
}

// String returns one line for each finding, sorted, in the form of a case.
func (f Findings) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "app: %s\n", f.App)
	if f.App == None {
		return b.String()
	}
	fmt.Fprintf(&b, "base: %s\nstrength: %s\n", f.Base, f.Strength)
	if !f.Final {
		b.WriteString("final: false\n")
	}
	attrs := slices.Clone(f.Attrs)
	slices.SortFunc(attrs, func(x, y Attr) int { return int(x.Key) - int(y.Key) })
	for _, a := range attrs {
		fmt.Fprintf(&b, "attr %s: %s\n", a.Key, escape([]byte(a.Value)))
	}
	threats := slices.Clone(f.Threats)
	slices.Sort(threats)
	for _, id := range threats {
		fmt.Fprintf(&b, "threat: %d\n", id)
	}
	for _, e := range f.Expects {
		fmt.Fprintf(&b, "expect: %s\n", expectText(e))
	}
	return b.String()
}

// expectText writes an expectation in the form of a case: side, protocol, port, application, and the
// address and "long" where there is one.
func expectText(e parsers.Expectation) string {
	proto := "tcp"
	if e.Proto == 17 {
		proto = "udp"
	}
	s := fmt.Sprintf("%s %s/%d %s", e.At, proto, e.Port, e.App.Name())
	if e.Addr.IsValid() {
		s += " " + e.Addr.String()
	}
	if e.Long {
		s += " long"
	}
	return s
}

// Value is the value of an attribute, empty if it was not found.
func (f *Findings) Value(a parsers.Attr) string {
	for _, have := range f.Attrs {
		if have.Key == a {
			return have.Value
		}
	}
	return ""
}

func escape(b []byte) string {
	q := fmt.Sprintf("%+q", b)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// Text writes the case as Parse reads it.
func (c *Case) Text() string {
	var b strings.Builder
	if c.Meta.Proto == 17 {
		b.WriteString("proto: udp\n")
	}
	if c.Meta.Midstream {
		b.WriteString("midstream: true\n")
	}
	b.WriteString(c.Want.String())
	b.WriteString("---\n")
	for i := range c.Messages {
		c.Messages[i].text(&b)
	}
	return b.String()
}

func (m *Message) text(b *strings.Builder) {
	side := ">"
	if m.Dir == parsers.ToClient {
		side = "<"
	}
	if m.Gap != 0 {
		fmt.Fprintf(b, "gap %s %d\n", side, m.Gap)
		return
	}
	mark := side
	for _, part := range pieces(m.Data) {
		if printable(part) {
			text := escape(part)
			if strings.HasPrefix(text, " ") {
				text = `\x20` + text[1:]
			}
			fmt.Fprintf(b, "%s %s\n", mark, text)
		} else {
			fmt.Fprintf(b, "%sx % x\n", mark, part)
		}
		mark = "+"
	}
}

// pieces cuts bytes into what reads well on a line.
func pieces(data []byte) [][]byte {
	var out [][]byte
	text := printable(data)
	for len(data) > 0 {
		n := min(len(data), 32)
		if text {
			n = len(data)
			if i := bytes.IndexByte(data, '\n'); i >= 0 {
				n = i + 1
			}
		}
		out, data = append(out, data[:n]), data[n:]
	}
	return out
}

func printable(b []byte) bool {
	for _, c := range b {
		if (c < ' ' || c > '~') && c != '\r' && c != '\n' && c != '\t' {
			return false
		}
	}
	return true
}

func name(id app.ID) string { return id.Name() }
