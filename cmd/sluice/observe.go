package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
)

type eventView struct {
	Time      string            `json:"time"`
	Kind      string            `json:"kind"`
	From      string            `json:"from"`
	To        string            `json:"to"`
	FromGroup string            `json:"from_group"`
	ToGroup   string            `json:"to_group"`
	Proto     string            `json:"proto"`
	Port      uint32            `json:"port"`
	App       string            `json:"app"`
	Verdict   string            `json:"verdict"`
	Reason    string            `json:"reason"`
	Rule      uint32            `json:"rule"`
	Family    string            `json:"family"`
	State     string            `json:"state"`
	Sessions  uint64            `json:"sessions"`
	Bytes     uint64            `json:"bytes"`
	Reporter  string            `json:"reporter"`
	Text      string            `json:"text,omitempty"`
	Missed    uint64            `json:"missed,omitempty"`
	Attrs     map[string]string `json:"attrs"`
}

func newObserve(c *cli) *cobra.Command {
	var req controlv1.ObserveRequest
	follow, last := false, -1
	cmd := &cobra.Command{
		Use:   "observe",
		Short: "Show connections as they happen",
		Long: `Shows one line for each connection event: time, from and to, protocol and port, application,
verdict and rule. Without -f it shows the connections that were seen last, and ends. With -o json each
line is a JSON object.`,
		Example: "  sluice observe -f\n  sluice observe -f --verdict deny --verdict violate\n  sluice observe -f --workload web -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, v := range req.Verdicts {
				if !slices.Contains([]string{"open", "learn", "allow", "violate", "deny", "pending"}, v) {
					return fmt.Errorf("there is no verdict %q: use open, learn, allow, violate, deny or pending", v)
				}
			}
			if last < 0 {
				last = 20
				if follow {
					last = 0
				}
			}
			return c.ask(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				if err := c.recent(ctx, cl, &req, last); err != nil || !follow {
					return err
				}
				return c.follow(ctx, cl, &req)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&follow, "follow", "f", false, "go on with what happens, until interrupted")
	f.IntVarP(&last, "last", "n", -1, "how many recent connections to show first (20, with -f none)")
	f.StringSliceVar(&req.Workloads, "workload", nil, "only of this workload or group; may be given again")
	f.StringSliceVar(&req.Verdicts, "verdict", nil, "only with this verdict; may be given again")
	return cmd
}

// recent shows the connections that were seen last, oldest first.
func (c *cli) recent(ctx context.Context, cl controlv1.ControlClient, req *controlv1.ObserveRequest, n int) error {
	if n == 0 {
		return nil
	}
	r, err := cl.ListConnections(ctx, &controlv1.ListConnectionsRequest{})
	if err != nil {
		return err
	}
	edges := slices.DeleteFunc(r.Edges, func(e *controlv1.Edge) bool {
		concerns := func(w string) bool { return isEnd(w, e.From, e.FromWorkload) || isEnd(w, e.To, e.ToWorkload) }
		return len(req.Verdicts) > 0 && !slices.Contains(req.Verdicts, e.Verdict) || len(req.Workloads) > 0 && !slices.ContainsFunc(req.Workloads, concerns)
	})
	slices.SortFunc(edges, func(a, b *controlv1.Edge) int { return cmp.Or(cmp.Compare(a.Last, b.Last), byEnds(a, b)) })
	for _, e := range edges[max(0, len(edges)-n):] {
		v := eventView{Time: stamp(e.Last), Kind: "connection", From: end(e.FromWorkload, e.From), To: end(e.ToWorkload, e.To), FromGroup: e.From, ToGroup: e.To,
			Proto: policy.ProtoName(uint8(e.Proto)), Port: e.Port, App: e.App, Verdict: e.Verdict, Reason: e.Reason, Rule: e.Rule, Family: e.Family,
			Sessions: e.Sessions, Bytes: e.BytesOut + e.BytesIn, Attrs: orEmpty(e.Attrs)}
		if err := c.event(&v, e.Last); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) follow(ctx context.Context, cl controlv1.ControlClient, req *controlv1.ObserveRequest) error {
	stream, err := cl.Observe(ctx, req)
	if err != nil {
		return err
	}
	for {
		e, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		v := eventView{stamp(e.Stamp), e.Kind, clean(e.From), clean(e.To), e.FromGroup, e.ToGroup, policy.ProtoName(uint8(e.Proto)), e.Port, e.App, e.Verdict, e.Reason,
			e.Rule, e.Family, e.State, e.Sessions, e.Bytes, e.Reporter, clean(e.Text), e.Missed, orEmpty(e.Attrs)}
		if err := c.event(&v, e.Stamp); err != nil {
			return err
		}
	}
}

// event writes one line.
func (c *cli) event(v *eventView, ns int64) error {
	if c.json() {
		e := json.NewEncoder(c.out)
		e.SetEscapeHTML(false)
		return e.Encode(v)
	}
	if v.Missed > 0 {
		fmt.Fprintln(c.out, c.out.paint(yellow, strconv.FormatUint(v.Missed, 10)+" events missed: this reader is too slow"))
	}
	at := time.Unix(0, ns).Format("15:04:05.000")
	if v.Kind == "warning" {
		_, err := fmt.Fprintf(c.out, "%s  %s: %s\n", c.out.paint(grey, at), v.From, c.out.paint(yellow, v.Text))
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s → %s  %s", c.out.paint(grey, at), v.From, v.To, protoPort(v.Proto, v.Port))
	if v.Kind == "threat" {
		fmt.Fprintf(&b, "  %s", c.out.paint(red, "threat: "+v.Text))
		_, err := fmt.Fprintln(c.out, b.String())
		return err
	}
	fmt.Fprintf(&b, "  %s  %s", v.App, c.out.paint(verdictColour(v.Verdict), v.Verdict))
	if v.Rule != 0 {
		fmt.Fprintf(&b, "  rule %d", v.Rule)
	} else if v.Reason != "" && v.Reason != "none" {
		fmt.Fprintf(&b, "  %s", v.Reason)
	}
	if name := cmp.Or(v.Attrs["host"], v.Attrs["question"]); name != "" {
		fmt.Fprintf(&b, "  %s", c.out.paint(grey, clean(name)))
	}
	_, err := fmt.Fprintln(c.out, b.String())
	return err
}
