package field

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// generator makes a walk: steps at random, of which most make sense where they are.
type generator struct {
	*rand.Rand
	s       script
	flows   []string // ids
	opened  int
	rules   int
	running bool
	paused  bool
}

// generate makes the walk of a seed.
func generate(seed uint64, steps int) script {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 7))}
	for g.IntN(3) == 0 {
		g.openFlow()
	}
	g.add("start", pick(g, "discover", "monitor", "monitor", "protect"))
	g.running = true
	for range steps {
		g.change()
		g.observe()
	}
	g.add("send", "all")
	g.add("probe", pick(g, ports...), pick(g, apps...))
	g.add("report")
	return g.s
}

func pick[T any](g *generator, all ...T) T { return all[g.IntN(len(all))] }

func (g *generator) add(words ...any) { g.s = append(g.s, line(words...)) }

// apps are what flows carry; those of TCP.
var apps = []string{"raw", "raw", "http", "redis"}

// way makes FROM TO NETWORK PORT APP.
func (g *generator) way() []any {
	ends := append([]string{outside}, names...)
	from, to := g.IntN(len(ends)), g.IntN(len(ends)-1)
	if to >= from {
		to++
	}
	network, app := pick(g, "tcp4", "tcp4", "tcp6", "udp4", "udp6"), pick(g, apps...)
	if network[0] == 'u' {
		app = "raw"
	}
	return []any{ends[from], g.place(ends[to]), network, pick(g, ports...), app}
}

// openFlow opens a flow, sometimes from a port below the server's, or equal to it.
func (g *generator) openFlow() {
	g.opened++
	id := fmt.Sprintf("f%d", g.opened)
	y := g.way()
	switch g.IntN(3) {
	case 0:
		y = append(y, 20000+g.opened)
	case 1:
		if y[2].(string)[0] == 'u' {
			y = append(y, y[3])
		}
	}
	verb := pick(g, "open", "open", "open", "idle")
	if y[2].(string)[0] == 'u' {
		verb = "open"
	}
	g.add(append([]any{verb, id}, y...)...)
	g.flows = append(g.flows, id)
}

// observe looks what the last step made of things.
func (g *generator) observe() {
	switch n := g.IntN(10); {
	case n < 4:
		g.add("send", "all")
	case n < 6:
		g.add(append([]any{"try"}, g.way()...)...)
	case n < 8:
		g.add("probe", pick(g, ports...), pick(g, apps...))
	}
}

// choice is a kind of step and how often it comes.
type choice struct {
	weight int
	when   bool
	do     func()
}

// change adds a step that changes something.
func (g *generator) change() {
	all := append([]choice{
		{20, true, g.openFlow},
		{3, len(g.flows) > 0, func() { g.add("close", pick(g, g.flows...)) }},
		{3, len(g.flows) > 0, func() { g.add("half", pick(g, g.flows...)) }},
		{3, g.up(), func() { g.add("learned") }},
		{16, g.up(), func() {
			g.add("mode", pick(g, "a", "b", "c", "all"), pick(g, "discover", "monitor", "protect", "protect", "protect"))
		}},
		{12, g.up(), g.rule},
		{4, g.up() && g.rules > 0, func() { g.add("unrule", g.IntN(g.rules)) }},
		{4, g.up(), func() { g.add("stop"); g.running = false }},
		{5, g.up(), func() { g.add("kill"); g.running = false }},
		{20, !g.running, func() { g.add("start", "protect"); g.running = true }},
		{2, g.up(), func() { g.add("pause"); g.paused = true }},
		{20, g.paused, func() { g.add("resume"); g.paused = false }},
	}, g.network()...)
	total := 0
	for _, c := range all {
		if c.when {
			total += c.weight
		}
	}
	n := g.IntN(total)
	for _, c := range all {
		if !c.when {
			continue
		}
		if n -= c.weight; n < 0 {
			c.do()
			return
		}
	}
}

func (g *generator) up() bool { return g.running && !g.paused }

// rule adds a rule, mostly one that allows.
func (g *generator) rule() {
	ends := []string{"a", "b", "c", outside, "any"}
	port := pick(g, "any", "tcp/9000", "tcp/8080", "tcp/50051", "udp/9000", "tcp/8080,udp/50051")
	words := []any{pick(g, "allow", "allow", "allow", "deny"), pick(g, ends...), pick(g, ends...), port}
	if g.IntN(3) == 0 {
		words = append(words, pick(g, "http", "redis"))
	}
	g.add(words...)
	g.rules++
}

// TestGenerate makes sure that seeds are kept: the same walk, in steps that can be read again.
func TestGenerate(t *testing.T) {
	verbsSeen := map[string]bool{}
	for seed := range uint64(300) {
		s := generate(seed, 14)
		again, err := parse(generate(seed, 14).String())
		if err != nil {
			t.Fatal(err)
		}
		if again.String() != s.String() {
			t.Fatalf("seed %d: two walks:\n%s\n%s", seed, s, again)
		}
		for _, st := range s {
			verbsSeen[st[0]] = true
		}
	}
	for verb := range verbs {
		if !verbsSeen[verb] && verb != "wait" && verb != "show" { // of scripts
			t.Errorf("no walk has the step %q", verb)
		}
	}
}
