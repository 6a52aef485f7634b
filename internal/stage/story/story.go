// Package story formats the output of the demos: numbered steps, colours if the terminal has them, and the
// end of a program's log after a failure. The demos provide the contents.
package story

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// tailLines is how much of a log Tail gives.
const tailLines = 15

// Teller writes a demo's output to W.
type Teller struct {
	W io.Writer
	// Colour reports whether W can show colours.
	Colour bool
	n      int
}

// Paint returns text in a colour, by the code of its escape sequence (ECMA-48 8.3.117), if W has colours.
func (t *Teller) Paint(code, text string) string {
	if !t.Colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Step begins a chapter.
func (t *Teller) Step(title, text string) {
	t.n++
	fmt.Fprintf(t.W, "\n%s\n%s\n\n", t.Paint("1;36", fmt.Sprintf("%d. %s", t.n, title)), t.Paint("90", "   "+text))
}

// Say writes a line of the chapter.
func (t *Teller) Say(format string, args ...any) { fmt.Fprintf(t.W, "   "+format+"\n", args...) }

// Tail returns the end of a log file; empty if unreadable.
func Tail(path string) string {
	data, _ := os.ReadFile(path)
	if lines := bytes.Split(bytes.TrimSpace(data), []byte("\n")); len(lines) > tailLines {
		data = bytes.Join(lines[len(lines)-tailLines:], []byte("\n"))
	}
	return string(data)
}
