package clusterdemo

import (
	"fmt"
	"io"
	"time"
)

// Report is what a demo found, as `sluice demo-cluster --json` prints it.
type Report struct {
	OK bool `json:"ok"`
	// Made are the connections that clients made and that were served, Known those of them that
	// the controller has in the end.
	Made  int `json:"made"`
	Known int `json:"known"`
	// Tried are the intruder's attempts, Through those that were not refused, Violations those that the
	// controller has in the end.
	Tried      int `json:"tried"`
	Through    int `json:"through"`
	Violations int `json:"violations"`
	// Takeover is from the death of the leading controller to the first answer of the other; Recovery from
	// the death of Consul's leader to a new rule in force on every node. Milliseconds.
	Takeover int64 `json:"takeover_ms"`
	Recovery int64 `json:"recovery_ms"`
	// Gap is the longest time without a served connection while those died, milliseconds.
	Gap      int64    `json:"gap_ms"`
	Seconds  float64  `json:"seconds"`
	Problems []string `json:"problems"`
}

// judge says whether everything held.
func (r *Report) judge(t *traffic) {
	bad := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	for text, n := range t.failures {
		bad("%s (%d times)", text, n)
	}
	if r.Made != r.Known {
		bad("clients made %d connections and the controller knows %d", r.Made, r.Known)
	}
	if r.Through > 0 {
		bad("%d of %d attempts of the intruder got through", r.Through, r.Tried)
	}
	if r.Tried != r.Violations {
		bad("the intruder tried %d times and the controller knows %d violations", r.Tried, r.Violations)
	}
	if r.Made == 0 || r.Tried == 0 {
		bad("nothing was made or tried")
	}
	if r.Gap > time.Second.Milliseconds() {
		bad("no connection was served for %d ms", r.Gap)
	}
	r.OK = len(r.Problems) == 0
}

// teller tells the story to a person.
type teller struct {
	w      io.Writer
	colour bool
	n      int
}

func (t *teller) paint(code, text string) string {
	if !t.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// step begins a chapter.
func (t *teller) step(title, text string) {
	t.n++
	fmt.Fprintf(t.w, "\n%s\n%s\n\n", t.paint("1;36", fmt.Sprintf("%d. %s", t.n, title)), t.paint("90", "   "+text))
}

func (t *teller) say(format string, args ...any) { fmt.Fprintf(t.w, "   "+format+"\n", args...) }

// verdict ends the story.
func (t *teller) verdict(r *Report) {
	if r.OK {
		fmt.Fprintf(t.w, "\n%s\n", t.paint("1;32", fmt.Sprintf("Everything held: %d connections made and known, %d attempts refused and known.", r.Made, r.Tried)))
		return
	}
	fmt.Fprintf(t.w, "\n%s\n", t.paint("1;31", "Not everything held:"))
	for _, p := range r.Problems {
		t.say("%s", p)
	}
}
