package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is where a command writes, and whether in colour.
type screen struct {
	io.Writer
	colour bool
	now    func() time.Time
}

// terminal is a screen on a file, in colour where that is a terminal and NO_COLOR is not set.
func terminal(f *os.File) *screen {
	return &screen{f, os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd())), time.Now}
}

type colour string

const (
	plain  colour = ""
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	blue   colour = "34"
	grey   colour = "90"
	bold   colour = "1"
)

func (s *screen) paint(c colour, text string) string {
	if !s.colour || c == plain || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// verdictColour is the colour of a verdict or a mode.
func verdictColour(v string) colour {
	switch v {
	case "deny", "protect":
		return red
	case "violate", "monitor", "pending":
		return yellow
	case "allow":
		return green
	case "learn", "discover":
		return blue
	}
	return plain
}

// cell is one field of a table.
type cell struct {
	text   string
	colour colour
	right  bool
}

func text(s string) cell    { return cell{text: s} }
func verdict(s string) cell { return cell{text: s, colour: verdictColour(s)} }
func number(n uint64) cell  { return cell{text: strconv.FormatUint(n, 10), right: true} }
func size(n uint64) cell    { return cell{text: humanBytes(n), right: true} }
func faint(s string) cell   { return cell{text: s, colour: grey} }
func ruleCell(id uint32) cell {
	if id == 0 {
		return cell{text: "-", right: true}
	}
	return number(uint64(id))
}

// table writes rows under a head, columns aligned; a column that holds nothing is left out.
func (s *screen) table(head []string, rows [][]cell) {
	width, used := make([]int, len(head)), make([]bool, len(head))
	for i, h := range head {
		width[i] = utf8.RuneCountInString(h)
	}
	for _, r := range rows {
		for i, c := range r {
			used[i] = used[i] || c.text != ""
			width[i] = max(width[i], utf8.RuneCountInString(c.text))
		}
	}
	last := 0
	for i := range head {
		if used[i] || len(rows) == 0 {
			last = i
		}
	}
	line := func(r []cell) {
		var b strings.Builder
		for i, c := range r {
			if !used[i] && len(rows) > 0 {
				continue
			}
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c.text))
			switch {
			case c.right:
				b.WriteString(pad + s.paint(c.colour, c.text))
			case i == last:
				b.WriteString(s.paint(c.colour, c.text))
			default:
				b.WriteString(s.paint(c.colour, c.text) + pad)
			}
			if i < last {
				b.WriteString("  ")
			}
		}
		fmt.Fprintln(s, strings.TrimRight(b.String(), " "))
	}
	h := make([]cell, len(head))
	for i := range head {
		h[i] = cell{text: strings.ToUpper(head[i]), colour: bold, right: len(rows) > 0 && rows[0][i].right}
	}
	line(h)
	for _, r := range rows {
		line(r)
	}
}

// humanBytes is a number of bytes in the unit that keeps it short.
func humanBytes(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	f, u := float64(n), 0
	for f >= 1024 && u < len(units)-1 {
		f /= 1024
		u++
	}
	if u == 0 || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, units[u])
	}
	return fmt.Sprintf("%.1f %s", f, units[u])
}

// ago returns how long ago a time is; "-" for none.
func (s *screen) ago(ns int64) string {
	if ns == 0 {
		return "-"
	}
	d := s.now().Sub(time.Unix(0, ns))
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}

// stamp is a time in JSON: RFC 3339 in UTC, "" for none.
func stamp(ns int64) string {
	if ns == 0 {
		return ""
	}
	return time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
}

// clean keeps control characters of names from the wire off the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// protoPort is "tcp/80", or the protocol's name alone.
func protoPort(name string, port uint32) string {
	if port == 0 {
		return name
	}
	return name + "/" + strconv.FormatUint(uint64(port), 10)
}
