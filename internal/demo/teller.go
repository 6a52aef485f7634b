package demo

import (
	"fmt"
	"io"
	"strings"

	"github.com/sluicenet/sluice/internal/lab"
)

// teller tells the story to a person.
type teller struct {
	w      io.Writer
	colour bool
	live   bool
	n      int
	drawn  int             // lines of the table that stands last on the screen
	shown  map[string]bool // learned connections told so far, where lines cannot be written over
}

func newTeller(cfg Config) *teller {
	w := cfg.Out
	if w == nil {
		w = io.Discard
	}
	return &teller{w: w, colour: cfg.Colour, live: cfg.Live, shown: map[string]bool{}}
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

func (t *teller) say(format string, args ...any) {
	fmt.Fprintf(t.w, "   "+format+"\n", args...)
}

// learned shows the connections known so far, over the ones shown before where that is possible.
func (t *teller) learned(edges []Edge) {
	if !t.live {
		for _, e := range edges {
			if k := fmt.Sprint(e.From, e.To, e.Proto, e.Port, e.App, e.Family); !t.shown[k] {
				t.shown[k] = true
				t.edge(e)
			}
		}
		return
	}
	if t.drawn > 0 {
		fmt.Fprintf(t.w, "\x1b[%dA", t.drawn)
	}
	t.drawn = 0
	if len(edges) > 0 {
		fmt.Fprintf(t.w, "\x1b[2K   %s\n", t.paint("1", fmt.Sprintf("%-8s    %-8s %-9s %-13s %-6s %8s %9s", "FROM", "TO", "PORT", "APP", "FAMILY", "SESSIONS", "BYTES")))
		t.drawn++
	}
	for _, e := range edges {
		fmt.Fprint(t.w, "\x1b[2K")
		t.edge(e)
		t.drawn++
	}
}

func (t *teller) edge(e Edge) {
	name := e.App
	if e.Over != "" {
		name += " in " + e.Over
	}
	fmt.Fprintf(t.w, "   %-8s -> %-8s %-9s %s %-6s %8d %9d\n", e.From, e.To, fmt.Sprintf("%s/%d", e.Proto, e.Port),
		t.paint("32", fmt.Sprintf("%-13s", name)), e.Family, e.Sessions, e.Bytes)
}

// settle says that the table is finished.
func (t *teller) settle() { t.drawn = 0 }

func (t *teller) rules(rules []Rule) {
	for _, r := range rules {
		fmt.Fprintf(t.w, "   %6d  %s %-8s -> %-8s %-10s %s\n", r.ID, t.paint("32", r.Action), r.From, r.To, strings.Join(r.Ports, ","), strings.Join(r.Apps, ","))
	}
}

func (t *teller) kept(p *Protect) {
	t.say("%s connections from before the switch go on", t.paint("32", fmt.Sprint(p.Kept)))
	t.say("%s new connections of the learned kinds were let through", t.paint("32", fmt.Sprint(p.Allowed)))
	if p.Broken > 0 {
		t.say("%s broke: %s", t.paint("31", fmt.Sprint(p.Broken)), strings.Join(p.Failures, "; "))
	}
}

func (t *teller) denied(a lab.Attempt, d *Denied) {
	by := "no rule allows it"
	if d.Rule != 0 {
		by = fmt.Sprintf("rule %d", d.Rule)
	}
	if !d.Reported {
		by = "no record of it"
	}
	mark := t.paint("31", fmt.Sprintf("%-7s", d.Outcome))
	if d.Outcome == string(lab.Open) {
		mark = t.paint("1;33", "OPEN   ")
	}
	fmt.Fprintf(t.w, "   %-42s %-8s -> %-6s %-9s %s  %s %8.2f ms  %s\n", a.What, d.From, d.To, fmt.Sprintf("%s/%d", d.Proto, d.Port), d.Family, mark, d.MS, by)
}

// verdict closes the story.
func (t *teller) verdict(r *Report) {
	fmt.Fprintln(t.w)
	if r.OK {
		t.say("%s", t.paint("1;32", "Everything held: what was learned goes on, nothing else does."))
		return
	}
	t.say("%s", t.paint("1;31", "Not everything held:"))
	for _, p := range r.Problems {
		t.say("- %s", p)
	}
}
