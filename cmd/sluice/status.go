package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

type statusView struct {
	Version     string            `json:"version"`
	Started     string            `json:"started"`
	Policy      uint64            `json:"policy"`
	Store       string            `json:"store"`
	Workloads   uint64            `json:"workloads"`
	Groups      uint64            `json:"groups"`
	Rules       uint64            `json:"rules"`
	Connections uint64            `json:"connections"`
	Sessions    uint64            `json:"sessions"`
	Violations  uint64            `json:"violations"`
	Dropped     map[string]uint64 `json:"dropped"`
	Nodes       []nodeView        `json:"nodes"`
}

type nodeView struct {
	Node     string            `json:"node"`
	Version  string            `json:"version"`
	Policy   uint64            `json:"policy"`
	Started  string            `json:"started"`
	LastSeen string            `json:"last_seen"`
	Errors   map[string]string `json:"errors"`
	Warnings []string          `json:"warnings"` // what people gave and what cannot be used of it
	Counters map[string]uint64 `json:"counters"`
}

func newStatus(c *cli) *cobra.Command {
	counters := false
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the daemon and its agents are",
		Long: `Shows what the daemon knows and whether every agent enforces the newest policy. What could
not be attached is listed with its reason.`,
		Example: "  sluice status\n  sluice status --counters\n  sluice status -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.ask(cmd.Context(), func(ctx context.Context, cl controlv1.ControlClient) error {
				st, err := cl.Status(ctx, &controlv1.StatusRequest{})
				if err != nil {
					return err
				}
				if c.json() {
					return c.document(viewStatus(st))
				}
				c.showStatus(st, counters)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&counters, "counters", false, "show every counter of the agents")
	return cmd
}

func viewStatus(st *controlv1.StatusResponse) statusView {
	v := statusView{Version: st.Version, Started: stamp(st.Started), Policy: st.Policy, Store: st.Store, Workloads: st.Workloads, Groups: st.Groups, Rules: st.Rules,
		Connections: st.Connections, Sessions: st.Sessions, Violations: st.Violations, Dropped: orEmpty(st.Dropped), Nodes: []nodeView{}}
	for _, n := range st.Nodes {
		v.Nodes = append(v.Nodes, nodeView{n.Node, n.Version, n.Policy, stamp(n.Started), stamp(n.LastSeen), orEmpty(n.WorkloadErrors), list(n.Warnings), orEmpty(n.Counters)})
	}
	return v
}

func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

func (c *cli) showStatus(st *controlv1.StatusResponse, counters bool) {
	up := c.out.now().Sub(time.Unix(0, st.Started)).Round(time.Second)
	fmt.Fprintf(c.out, "sluice %s, up %s, store %s\n", st.Version, up, st.Store)
	fmt.Fprintf(c.out, "%d workloads in %d groups, %d rules (policy %d)\n", st.Workloads, st.Groups, st.Rules, st.Policy)
	fmt.Fprintf(c.out, "%d kinds of connection, %d sessions, %d violations\n", st.Connections, st.Sessions, st.Violations)
	for _, k := range slices.Sorted(maps.Keys(st.Dropped)) {
		fmt.Fprintln(c.out, c.out.paint(yellow, fmt.Sprintf("%d records lost: %s", st.Dropped[k], k)))
	}
	fmt.Fprintln(c.out)
	rows := make([][]cell, 0, len(st.Nodes))
	for _, n := range st.Nodes {
		enforced := cell{text: "yes", colour: green}
		if n.Policy != st.Policy {
			enforced = cell{text: fmt.Sprintf("policy %d still", n.Policy), colour: yellow}
		}
		rows = append(rows, []cell{text(n.Node), text(n.Version), enforced, text(c.out.ago(n.LastSeen)), number(uint64(len(n.WorkloadErrors)))})
	}
	c.out.table([]string{"node", "version", "up to date", "last seen", "errors"}, rows)
	for _, n := range st.Nodes {
		for _, w := range slices.Sorted(maps.Keys(n.WorkloadErrors)) {
			fmt.Fprintln(c.out, c.out.paint(red, w+": ")+n.WorkloadErrors[w])
		}
		for _, text := range n.Warnings {
			fmt.Fprintln(c.out, c.out.paint(yellow, n.Node+": ")+clean(text))
		}
		if !counters {
			continue
		}
		fmt.Fprintln(c.out)
		rows := [][]cell{}
		for _, k := range slices.Sorted(maps.Keys(n.Counters)) {
			rows = append(rows, []cell{text(k), number(n.Counters[k])})
		}
		c.out.table([]string{"counter of " + n.Node, "value"}, rows)
	}
}
