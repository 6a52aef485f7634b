package field

import (
	"fmt"
	"strings"
)

// step is one line of a script: a verb and its arguments. A step that makes no sense where it is (a flow that is not
// open, a node that is gone) does nothing, so any part of a script is a script.
type step []string

func line(words ...any) step {
	s := make(step, len(words))
	for i, w := range words {
		s[i] = fmt.Sprint(w)
	}
	return s
}

func (s step) String() string { return strings.Join(s, " ") }

// arg returns an argument, or "".
func (s step) arg(i int) string {
	if i+1 < len(s) {
		return s[i+1]
	}
	return ""
}

// script is what one run does, in order.
type script []step

func (s script) String() string {
	var b strings.Builder
	for _, st := range s {
		fmt.Fprintln(&b, st)
	}
	return b.String()
}

// parse reads a script; what follows a # is a comment.
func parse(text string) (s script, err error) {
	for l := range strings.Lines(text) {
		l, _, _ = strings.Cut(l, "#")
		f := strings.Fields(l)
		if len(f) == 0 {
			continue
		}
		if _, ok := verbs[f[0]]; !ok {
			return nil, fmt.Errorf("unknown step %q", f[0])
		}
		s = append(s, f)
	}
	return s, nil
}
