package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/vocab"
)

type whyView struct {
	From    string       `json:"from"`
	To      string       `json:"to"`
	Port    string       `json:"port"`
	App     string       `json:"app"`
	Verdict string       `json:"verdict"`
	Text    string       `json:"text"`
	Ends    []whyEndView `json:"ends"`
}

type whyEndView struct {
	Workload string        `json:"workload"`
	End      string        `json:"end"`
	Mode     string        `json:"mode"`
	Note     string        `json:"note"` // what the mode does not mean for this workload
	Verdict  string        `json:"verdict"`
	Reason   string        `json:"reason"`
	Rule     uint32        `json:"rule"`
	Steps    []whyStepView `json:"steps"`
}

type whyStepView struct {
	Rule    uint32 `json:"rule"`
	Text    string `json:"text"`
	Outcome string `json:"outcome"`
}

func newWhy(c *cli) *cobra.Command {
	var req controlv1.WhyRequest
	cmd := &cobra.Command{
		Use:   "why FROM TO PORT",
		Short: "Explain which rule decides a connection",
		Long: `Shows what policy would decide about a connection now, by which rule, and how each end came to it. FROM and TO
are workloads, groups or addresses; PORT is 80, tcp/80, udp/53 or icmp.`,
		Example: "  sluice why web db 5432\n  sluice why web db 5432 --app postgresql\n  sluice why intruder 10.0.0.3 udp/53 -o json",
		Args:    args("FROM", "TO", "PORT"),
		RunE: func(cmd *cobra.Command, a []string) error {
			req.From, req.To, req.Port = a[0], a[1], a[2]
			return c.call(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				q := question{cl: cl, req: &req}
				if err := q.run(ctx); err != nil {
					return err
				}
				return c.showWhy(&q)
			})
		},
	}
	cmd.Flags().StringVar(&req.App, "app", "", "the application, where rules depend on it")
	return cmd
}

func (c *cli) showWhy(q *question) error {
	r := q.answer
	v := whyView{r.From, r.To, r.Port, r.App, vocab.Text(r.Verdict), q.text, []whyEndView{}}
	for _, e := range r.Ends {
		ev := whyEndView{e.Workload, e.End, vocab.Text(e.Mode), q.notes[e.Workload], vocab.Text(e.Verdict), vocab.Text(e.Reason), e.Rule, []whyStepView{}}
		for _, s := range e.Steps {
			ev.Steps = append(ev.Steps, whyStepView{s.Rule, s.Text, s.Outcome})
		}
		v.Ends = append(v.Ends, ev)
	}
	if c.json() {
		return c.document(v)
	}
	fmt.Fprintln(c.out, c.out.paint(verdictColour(v.Verdict), v.Verdict)+": "+v.Text)
	for _, e := range v.Ends {
		fmt.Fprintf(c.out, "\n%s of %s, mode %s%s: %s\n", e.End, e.Workload, e.Mode, noteAfter(e.Note), c.out.paint(verdictColour(e.Verdict), e.Verdict))
		for _, s := range e.Steps {
			name := "      "
			if s.Rule != 0 {
				name = fmt.Sprintf("%6d", s.Rule)
			}
			fmt.Fprintf(c.out, "%s  %s: %s\n", name, s.Text, s.Outcome)
		}
	}
	return nil
}
