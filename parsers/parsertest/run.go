package parsertest

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
)

// Run replays every case of a folder through a parser whose number is id.
func Run(t *testing.T, p parsers.Parser, id app.ID, dir string) {
	t.Helper()
	cases, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatalf("no cases in %s", dir)
	}
	for i := range cases {
		t.Run(cases[i].Name, func(t *testing.T) { Check(t, p, id, &cases[i]) })
	}
}

// Check replays one case in all its variants.
func Check(t *testing.T, p parsers.Parser, id app.ID, c *Case) {
	t.Helper()
	r := runner{t: t, p: p, id: id, c: c}
	if got, want := r.replay("whole", c.Messages).String(), c.Want.String(); got != want {
		t.Fatalf("whole: got\n%swant\n%s", got, want)
	}
	if !c.Meta.Datagram() {
		r.cut()
	}
	if c.Negative() {
		return
	}
	r.exchanged()
	r.alone()
	r.sides()
	r.gaps()
	r.junk()
}

type runner struct {
	t  *testing.T
	p  parsers.Parser
	id app.ID
	c  *Case
}

// replay fails on a breach of the contract.
func (r *runner) replay(what string, messages []Message) Findings {
	r.t.Helper()
	f, err := Replay(r.p, r.id, r.c.Meta, messages)
	if err != nil {
		r.t.Errorf("%s: %v", what, err)
	}
	return f
}

// same fails if a variant's findings are not the case's.
func (r *runner) same(what string, messages []Message) {
	r.t.Helper()
	if got, want := r.replay(what, messages).String(), r.c.Want.String(); got != want {
		r.t.Errorf("%s: got\n%swant\n%s", what, got, want)
	}
}

func (r *runner) cut() {
	r.t.Helper()
	for _, n := range []int{1, 2, 3, 7, 100} {
		messages := cutAll(r.c.Messages, n)
		if len(messages) < detect.MaxPackets {
			r.same("cut small", messages)
		} else if f := r.replay("cut absurdly small", messages); f.Base != r.c.Want.Base {
			r.t.Errorf("cut absurdly small: got\n%swant base %s", f, r.c.Want.Base)
		}
	}
	r.same("coalesced", coalesce(r.c.Messages))
	for _, at := range cuts(r.c.Messages) {
		if r.t.Failed() {
			return
		}
		m := r.c.Messages[at[0]]
		what := "cut " + m.Dir.String() + " before " + escape(m.Data[at[1]:min(at[1]+12, len(m.Data))])
		r.same(what, cutOnce(r.c.Messages, at[0], at[1]))
	}
}

// sides replays what one side sent: the answer is the case's, or less, and the same however it was cut.
func (r *runner) sides() {
	r.t.Helper()
	for dir, want := range [2]string{r.c.ClientOnly, r.c.ServerOnly} {
		messages := oneSide(r.c.Messages, parsers.Dir(dir))
		if len(messages) == 0 {
			continue
		}
		what := "only " + parsers.Dir(dir).String()
		f := r.replay(what, messages)
		if want != "" && (f.App != want || !f.Final) {
			r.t.Errorf("%s: got\n%swant final app %s", what, f, want)
		}
		r.notWrong(what, f)
		if r.c.Meta.Datagram() {
			continue
		}
		for _, n := range []int{1, 2, 5} {
			if len(cutAll(messages, n)) >= detect.MaxPackets {
				continue
			}
			if got := r.replay(what, cutAll(messages, n)); got.String() != f.String() {
				r.t.Errorf("%s cut small: got\n%swhole\n%s", what, got, f)
			}
		}
	}
}

// exchanged replays the case in midstream with client and server as they are and taken for each other: a parser that is
// certain of the side is right, however the bytes were cut.
func (r *runner) exchanged() {
	r.t.Helper()
	m := r.c.Meta
	m.Midstream = true
	for _, variant := range []struct {
		meta     parsers.Meta
		messages []Message
		right    detect.Side
	}{
		{m, r.c.Messages, detect.AsAssumed},
		{turnMeta(m), turn(r.c.Messages), detect.Exchanged},
	} {
		what := "midstream, sides " + variant.right.String()
		if r.c.Side == "exchanged" {
			variant.right = detect.AsAssumed + detect.Exchanged - variant.right
		}
		f, err := Replay(r.p, r.id, variant.meta, variant.messages)
		if err != nil {
			r.t.Errorf("%s: %v", what, err)
		}
		if f.Side != detect.UnknownSide && f.Side != variant.right || r.c.Side != "" && r.c.Side != "unknown" && f.Side != variant.right ||
			r.c.Side == "unknown" && f.Side != detect.UnknownSide {
			r.t.Errorf("%s: side %s", what, f.Side)
		}
		if r.c.Side == "certain" && r.c.Meta.Midstream && f.App != r.c.Want.App {
			r.t.Errorf("%s: got\n%swant\n%s", what, f, r.c.Want)
		}
		if m.Datagram() {
			continue
		}
		for _, n := range []int{1, 3} {
			if len(cutAll(variant.messages, n)) >= detect.MaxPackets {
				continue
			}
			if got, _ := Replay(r.p, r.id, variant.meta, cutAll(variant.messages, n)); got.Side != f.Side {
				r.t.Errorf("%s, cut small: side %s", what, got.Side)
			}
		}
	}
}

// alone probes each datagram of a case of a parser that is Standalone or Continuing by itself, in midstream and with the
// sides as they are and taken for each other: it is claimed, or may continue a session.
func (r *runner) alone() {
	r.t.Helper()
	_, standalone := r.p.(parsers.Standalone)
	later, continuing := r.p.(parsers.Continuing)
	if !standalone && !continuing || !r.c.Meta.Datagram() || r.c.Want.Base != r.p.Name() {
		return
	}
	m := r.c.Meta
	m.Midstream = true
	for i, one := range r.c.Messages {
		for _, x := range []struct {
			meta parsers.Meta
			of   []Message
		}{{m, []Message{one}}, {turnMeta(m), turn([]Message{one})}} {
			if continuing && later.Continues(&x.meta, one.Data) {
				continue
			}
			if f, err := Replay(r.p, r.id, x.meta, x.of); err != nil || f.Base != r.p.Name() {
				r.t.Errorf("datagram %d alone: got\n%swant %s, error %v", i+1, f, r.p.Name(), err)
			}
		}
	}
}

// notWrong fails on an answer that is neither the case's nor anything it rides on nor none.
func (r *runner) notWrong(what string, f Findings) {
	r.t.Helper()
	if f.App != None && f.App != r.c.Want.Base && !rides(r.c.Want.App, f.App) {
		r.t.Errorf("%s: wrong answer\n%swant %s or what it rides on", what, f, r.c.Want.App)
	}
}

// rides reports whether an application is another, or rides on it.
func rides(top, under string) bool {
	id, err := app.Parse(top)
	for err == nil && id != app.Unknown {
		if id.Name() == under {
			return true
		}
		id = below(id)
	}
	return top == under
}

// below is what an application rides on.
func below(id app.ID) app.ID {
	for _, i := range app.All() {
		if i.ID == id {
			return i.On
		}
	}
	return app.Unknown
}

func (r *runner) gaps() {
	r.t.Helper()
	for _, messages := range withGaps(r.c.Messages) {
		f := r.replay("gap", messages)
		if f.Strength == parsers.Certain {
			r.notWrong("gap", f)
		}
		if !r.c.Meta.Datagram() {
			r.replay("gap, cut small", cutAll(messages, 1))
		}
	}
}

// junk puts other bytes behind the conversation: what was found stays.
func (r *runner) junk() {
	r.t.Helper()
	if r.c.NoJunk {
		return
	}
	for name, b := range junks() {
		f := r.replay("junk "+name, withJunk(r.c.Messages, b))
		if f.App != r.c.Want.App || f.Base != r.c.Want.Base {
			r.t.Errorf("junk %s: got\n%swant\n%s", name, f, r.c.Want)
		}
		for _, a := range r.c.Want.Attrs {
			if got := f.Value(a.Key); got != a.Value {
				r.t.Errorf("junk %s: %s: got %q want %q", name, a.Key, got, a.Value)
			}
		}
	}
}
