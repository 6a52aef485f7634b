package demo

import (
	"fmt"
	"io"
	"strings"

	"github.com/sluicenet/sluice/internal/stage/lab"
	"github.com/sluicenet/sluice/internal/stage/story"
)

// teller writes the demo's output.
type teller struct {
	story.Teller
	live  bool
	drawn int             // lines of the table that stands last on the screen
	shown map[string]bool // learned connections reported so far, where lines cannot be written over
}

func newTeller(cfg Config) *teller {
	w := cfg.Out
	if w == nil {
		w = io.Discard
	}
	return &teller{Teller: story.Teller{W: w, Colour: cfg.Colour}, live: cfg.Live, shown: map[string]bool{}}
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
		fmt.Fprintf(t.W, "\x1b[%dA", t.drawn)
	}
	t.drawn = 0
	if len(edges) > 0 {
		fmt.Fprintf(t.W, "\x1b[2K   %s\n", t.Paint("1", fmt.Sprintf("%-8s    %-8s %-9s %-13s %-6s %8s %9s", "FROM", "TO", "PORT", "APP", "FAMILY", "SESSIONS", "BYTES")))
		t.drawn++
	}
	for _, e := range edges {
		fmt.Fprint(t.W, "\x1b[2K")
		t.edge(e)
		t.drawn++
	}
}

func (t *teller) edge(e Edge) {
	name := e.App
	if e.Over != "" {
		name += " in " + e.Over
	}
	fmt.Fprintf(t.W, "   %-8s -> %-8s %-9s %s %-6s %8d %9d\n", e.From, e.To, fmt.Sprintf("%s/%d", e.Proto, e.Port),
		t.Paint("32", fmt.Sprintf("%-13s", name)), e.Family, e.Sessions, e.Bytes)
}

// finishTable ends the table.
func (t *teller) finishTable() { t.drawn = 0 }

func (t *teller) rules(rules []Rule) {
	for _, r := range rules {
		fmt.Fprintf(t.W, "   %6d  %s %-8s -> %-8s %-10s %s\n", r.ID, t.Paint("32", r.Action), r.From, r.To, strings.Join(r.Ports, ","), strings.Join(r.Apps, ","))
	}
}

func (t *teller) kept(p *Protect) {
	t.Say("%s connections from before the switch continue", t.Paint("32", fmt.Sprint(p.Kept)))
	t.Say("%s new connections of the learned kinds were let through", t.Paint("32", fmt.Sprint(p.Allowed)))
	if p.Broken > 0 {
		t.Say("%s broke: %s", t.Paint("31", fmt.Sprint(p.Broken)), strings.Join(p.Failures, "; "))
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
	mark := t.Paint("31", fmt.Sprintf("%-7s", d.Outcome))
	if d.Outcome == string(lab.Open) {
		mark = t.Paint("1;33", "OPEN   ")
	}
	fmt.Fprintf(t.W, "   %-42s %-8s -> %-6s %-9s %s  %s %8.2f ms  %s\n", a.What, d.From, d.To, fmt.Sprintf("%s/%d", d.Proto, d.Port), d.Family, mark, d.MS, by)
}

// verdict closes the story.
func (t *teller) verdict(r *Report) {
	fmt.Fprintln(t.W)
	if r.OK {
		t.Say("%s", t.Paint("1;32", "Everything held: what was learned continues, nothing else does."))
		return
	}
	t.Say("%s", t.Paint("1;31", "Not everything held:"))
	for _, p := range r.Problems {
		t.Say("- %s", p)
	}
}
